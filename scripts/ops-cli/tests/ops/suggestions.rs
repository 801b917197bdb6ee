//! Whom a user would be suggested, and why not the others.

use uuid::Uuid;

use crate::operator::{System, user};

#[tokio::test(flavor = "multi_thread")]
async fn each_contact_is_explained_and_names_are_shown_only_when_they_are_asked_for() {
    let system = System::start().await;
    let (user, ada, ben) = (user(1), Uuid::new_v4(), Uuid::new_v4());
    system
        .stack
        .run(&format!(
            "INSERT INTO users (id, email, google_id, last_calendar_sync) VALUES ('{user}', 'a@example.test', 'a', now());
             INSERT INTO contacts (id, user_id, name, frequency_preference, last_contact_date)
             VALUES ('{ada}', '{user}', 'Ada', 'weekly', now() - interval '30 days'),
                ('{ben}', '{user}', 'Ben', 'yearly', now())"
        ))
        .await;
    let explain = |more: &[&str]| {
        let user = user.to_string();
        system.succeeds(&[&["suggestions", "explain", &user], more].concat())
    };
    let said = explain(&[]).out;
    let lines: Vec<_> = said.lines().collect();
    let [first, second] = lines.as_slice() else { panic!("{said}") };
    assert!(first.starts_with(&format!("{ada}  suggested")), "{said}");
    assert!(second.starts_with(&format!("{ben}  not_due")) && !said.contains("Ada"), "{said}");
    assert!(explain(&["--names"]).out.contains("Ada"));
    let json = explain(&["--json"]).json();
    let decision = |contact: Uuid| {
        let contacts = json["contacts"].as_array().unwrap();
        contacts.iter().find(|it| it["contact"] == contact.to_string()).unwrap()["decision"].clone()
    };
    assert_eq!((decision(ada), decision(ben)), ("suggested".into(), "not_due".into()), "{json}");
    let said = system.ops(&["suggestions", "explain", &Uuid::new_v4().to_string()]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("there is no user"), "{said:?}");
}
