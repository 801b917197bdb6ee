//! `SendGrid`'s checks and answers.

use serde_json::{Value, json};

use crate::site::Site;

const TO: &str = "ada@example.test";

fn mail(site: &Site) -> Value {
    json!({
        "personalizations": [{ "to": [{ "email": TO }] }],
        "from": { "email": site.config.from_email, "name": "CatchUp" },
        "subject": "Hello",
        "content": [{ "type": "text/plain", "value": "Hi" }, { "type": "text/html", "value": "<p>Hi</p>" }],
    })
}

async fn send(site: &Site, key: &str, mail: &Value) -> reqwest::Response {
    site.http.post(format!("{}/v3/mail/send", site.url)).bearer_auth(key).json(mail).send().await.unwrap()
}

/// What `change` makes of a sound mail: the status and the field that is wrong.
#[track_caller]
fn check<'a>(
    site: &'a Site,
    change: impl FnOnce(&mut Value),
    status: u16,
    field: &'a str,
) -> impl Future<Output = ()> + 'a {
    let mut mail = mail(site);
    change(&mut mail);
    let place = std::panic::Location::caller();
    async move {
        let answer = send(site, &site.config.api_key, &mail).await;
        assert_eq!(answer.status(), status, "{place}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["errors"][0]["field"], field, "{place}: {body}");
    }
}

#[tokio::test]
async fn accepted_e_mail_is_in_the_inbox_under_its_id() {
    let site = Site::start();
    let answer = send(&site, &site.config.api_key, &mail(&site)).await;
    assert_eq!(answer.status(), 202);
    let messages = site.inbox.messages();
    assert_eq!(answer.headers()["x-message-id"], messages[0].provider_id.as_str());
    let message = &messages[0];
    assert_eq!((message.to.as_str(), message.subject.as_deref()), (TO, Some("Hello")));
    assert_eq!((message.text.as_deref(), message.html.as_deref()), (Some("Hi"), Some("<p>Hi</p>")));
}

#[tokio::test]
async fn sendgrid_stand_in_refuses_with_the_field() {
    let site = Site::start();
    check(&site, |mail| mail["personalizations"] = json!([]), 400, "personalizations").await;
    check(&site, |mail| mail["personalizations"][0]["to"] = json!([]), 400, "personalizations.0.to").await;
    let to = "personalizations.0.to.0.email";
    check(&site, |mail| mail["personalizations"][0]["to"][0]["email"] = json!("ada"), 400, to).await;
    check(&site, |mail| mail["from"]["email"] = json!("other@example.test"), 403, "from").await;
    check(&site, |mail| mail["from"] = Value::Null, 400, "from.email").await;
    check(&site, |mail| mail["subject"] = json!(""), 400, "subject").await;
    check(&site, |mail| mail["content"] = json!([]), 400, "content").await;
    check(&site, |mail| mail["content"][0]["value"] = json!(""), 400, "content.0.value").await;
    check(&site, |mail| mail["content"].as_array_mut().unwrap().reverse(), 400, "content").await;
    check(&site, |mail| mail["colour"] = json!("red"), 400, "(root)").await;
    assert_eq!(send(&site, "wrong", &mail(&site)).await.status(), 401);
    assert_eq!(site.inbox.messages(), []);
}

#[tokio::test]
async fn mail_to_a_suppressed_address_is_accepted_and_dropped() {
    let site = Site::start();
    site.inbox.suppress(TO);
    let answer = send(&site, &site.config.api_key, &mail(&site)).await;
    assert!(answer.status() == 202 && answer.headers().contains_key("x-message-id"));
    let dropped = site.inbox.dropped_after(0);
    assert_eq!((site.inbox.messages(), dropped.len(), dropped[0].to.as_str()), (Vec::new(), 1, TO));
    site.inbox.restore(TO);
    send(&site, &site.config.api_key, &mail(&site)).await;
    assert_eq!((site.inbox.messages().len(), site.inbox.dropped_after(1).len()), (1, 0));
}
