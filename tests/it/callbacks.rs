//! Callbacks of the providers of messages, and the links in messages: each repeatable, in any order, also late, and none trusted
//! without its signature.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use batch_notifications::BatchNotifications;
use catchup::db::suggestions::{Act, Suggestions};
use catchup::queues;
use chrono::TimeDelta;
use http_body_util::BodyExt as _;
use messaging_stand_in::{Callback, Channel, Config, Fault, Kind, Message};
use serde_json::{Value, json};
use shared::job::Job as _;
use shared::runtime::service_router;
use tests::database::LATER_SCHEMA;
use tests::messaging::WEBHOOKS_URL;
use tests::{Delivery, Messaging, Service, Stack};
use tower::ServiceExt as _;
use uuid::Uuid;
use webhooks::{SERVICE, sendgrid, twilio};

const NUMBER: &str = "+12125550100";
const WEEK_SECONDS: i64 = 7 * 24 * 3600;

/// The receiver next to batch-notifications, and a user who gets e-mail and texts.
struct Fixture {
    stack: Stack,
    messaging: Messaging,
    batches: Service,
    router: Router,
    account: Config,
    user: Uuid,
}

impl Fixture {
    async fn new() -> Self {
        let stack = Stack::start().await;
        stack.advance_to_noon();
        let messaging = Messaging::start();
        let job = BatchNotifications::new(&mut stack.setup(messaging.environment())).unwrap();
        let batches = stack.service_with(job, messaging.environment());
        let mut setup = stack.setup(messaging.environment());
        let (router, _) = service_router(&SERVICE, &mut setup)
            .unwrap_or_else(|_| panic!("the environment cannot be used: {:?}", setup.config().problems()));
        let user = Uuid::new_v4();
        stack
            .run(&format!(
                "INSERT INTO users (id, email, google_id, last_calendar_sync)
                 VALUES ('{user}', 'ada@example.test', 'ada', '2100-01-01');
                 INSERT INTO notification_preferences (user_id, sms_enabled, email_enabled) VALUES ('{user}', true, true);
                 INSERT INTO user_phone_numbers (user_id, phone_number, encrypted_phone_number, verified)
                 VALUES ('{user}', '{NUMBER}', '', true)"
            ))
            .await;
        Self { stack, messaging, batches, router, account: Config::default(), user }
    }

    /// A suggestion to meet a contact.
    async fn suggest(&self, whom: &str) -> Uuid {
        let (id, contact, user) = (Uuid::new_v4(), Uuid::new_v4(), self.user);
        let start = self.stack.now() + TimeDelta::days(9);
        let end = start + TimeDelta::hours(1);
        self.stack
            .run(&format!(
                "INSERT INTO contacts (id, user_id, name) VALUES ('{contact}', '{user}', '{whom}');
                 INSERT INTO suggestions (id, user_id, contact_id, trigger_type, proposed_timeslot_start,
                    proposed_timeslot_end, proposed_timeslot_timezone, reasoning)
                 VALUES ('{id}', '{user}', '{contact}', 'timebound', '{start}', '{end}', 'UTC', 'why')"
            ))
            .await;
        id
    }

    /// Sends the user's batch of the next week, and returns what arrived of it.
    async fn batch(&self) -> Vec<Message> {
        self.messaging.inbox.clear();
        self.stack.advance(WEEK_SECONDS);
        let task = Delivery::of(
            queues::BATCH_NOTIFICATIONS,
            &json!({ "userId": self.user, "time": Uuid::new_v4() }),
        );
        self.batches.deliver(task).await;
        self.messaging.inbox.messages()
    }

    async fn channels_of_batch(&self) -> Vec<Channel> {
        self.suggest("Someone").await;
        self.batch().await.into_iter().map(|message| message.channel).collect()
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn deliver(&self, callback: &Callback) -> u16 {
        let path = callback.url.strip_prefix(WEBHOOKS_URL).unwrap();
        let mut request = Request::post(path).header("x-forwarded-for", "192.0.2.1");
        for (name, value) in &callback.headers {
            request = request.header(*name, value);
        }
        self.send(request.body(Body::from(callback.body.clone())).unwrap()).await.0.as_u16()
    }

    fn status_of(&self, text: &Message, status: &str, code: Option<u32>) -> Callback {
        let url = text.status_callback.as_deref().expect("the text has a callback");
        Callback::twilio_status(&self.account, url, &text.provider_id, status, code)
    }

    fn text_from(&self, sid: &str, number: &str, body: &str) -> Callback {
        let url = format!("{WEBHOOKS_URL}{}", twilio::INCOMING_PATH);
        Callback::twilio_incoming(&self.account, &url, sid, number, body)
    }

    /// State, provider's id and failure, of the messages of a channel.
    async fn ledger(&self, channel: &str) -> Vec<(String, Option<String>, Option<String>)> {
        self.stack
            .rows(&format!(
                "SELECT state, provider_id, failure FROM jobs.notification_deliveries
                 WHERE channel = '{channel}' ORDER BY claimed_at"
            ))
            .await
    }

    async fn state(&self, channel: &str) -> String {
        self.ledger(channel).await.pop().expect("a message").0
    }

    /// Whether the application shows that texts, and e-mails, are wanted.
    async fn shown(&self) -> (bool, bool) {
        self.stack.rows("SELECT sms_enabled, email_enabled FROM notification_preferences").await.remove(0)
    }
}

fn events(events: &Value) -> Callback {
    Callback::sendgrid(&format!("{WEBHOOKS_URL}{}", sendgrid::PATH), events, 1_800_000_000)
}

/// An event about an e-mail.
fn event(mail: &Message, what: &str, more: &Value) -> Value {
    let mut event = json!({
        "event": what,
        "email": mail.to,
        "message_id": mail.our_id,
        "sg_message_id": format!("{}.recvd-1", mail.provider_id),
        "sg_event_id": format!("{what}-{}", mail.provider_id),
        "timestamp": 1_800_000_000,
    });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

fn of(messages: &[Message], channel: Channel) -> &Message {
    messages.iter().find(|message| message.channel == channel).expect("a message of that channel")
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_says_what_twilio_reports_of_a_text_in_any_order_and_however_often() {
    let fixture = Fixture::new().await;
    for (order, expected) in [
        (["sent", "delivered", "sent"], "delivered"),
        (["delivered", "sent", "delivered"], "delivered"),
        (["undelivered", "sent", "undelivered"], "failed"),
    ] {
        fixture.suggest("Ben").await;
        let messages = fixture.batch().await;
        let text = of(&messages, Channel::Sms);
        for status in order {
            let code = (status == "undelivered").then_some(30_003);
            assert_eq!(fixture.deliver(&fixture.status_of(text, status, code)).await, 204, "{status}");
        }
        assert_eq!(fixture.state("sms").await, expected);
    }
    let failure = fixture.ledger("sms").await.pop().unwrap().2;
    assert_eq!(failure.as_deref(), Some("30003"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_says_what_sendgrid_reports_of_an_e_mail_in_any_order_and_however_often() {
    let fixture = Fixture::new().await;
    for (order, expected) in [
        (vec![("processed", json!({})), ("delivered", json!({})), ("processed", json!({}))], "delivered"),
        (vec![("delivered", json!({})), ("open", json!({})), ("click", json!({}))], "delivered"),
        (
            vec![("bounce", json!({ "type": "blocked", "status": "4.7.1" })), ("processed", json!({}))],
            "failed",
        ),
    ] {
        fixture.suggest("Ben").await;
        let messages = fixture.batch().await;
        let mail = of(&messages, Channel::Email);
        for (what, more) in &order {
            let callback = events(&json!([event(mail, what, more)]));
            assert_eq!(fixture.deliver(&callback).await, 204, "{what}");
            assert_eq!(fixture.deliver(&callback).await, 204, "{what} again");
        }
        assert_eq!(fixture.state("email").await, expected);
    }
    // All events of a message in one batch, the last one first.
    fixture.suggest("Ben").await;
    let messages = fixture.batch().await;
    let mail = of(&messages, Channel::Email);
    let all =
        ["bounce", "delivered", "processed"].map(|what| event(mail, what, &json!({ "status": "5.1.1" })));
    assert_eq!(fixture.deliver(&events(&json!(all))).await, 204);
    assert_eq!(fixture.ledger("email").await.pop().unwrap().2.as_deref(), Some("5.1.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_unknown_status_resolve_themselves() {
    let fixture = Fixture::new().await;
    fixture.suggest("Ben").await;
    for channel in [Channel::Sms, Channel::Email] {
        fixture.messaging.inbox.fault(Fault::new(channel, Kind::ResetAfterAccept));
    }
    let messages = fixture.batch().await;
    assert_eq!(
        (fixture.state("sms").await, fixture.state("email").await),
        ("unknown".into(), "unknown".into())
    );
    let (text, mail) = (of(&messages, Channel::Sms), of(&messages, Channel::Email));
    fixture.deliver(&fixture.status_of(text, "delivered", None)).await;
    fixture.deliver(&events(&json!([event(mail, "delivered", &json!({}))]))).await;
    for (channel, message) in [("sms", text), ("email", mail)] {
        let expected = ("delivered".to_owned(), Some(message.provider_id.clone()), None);
        assert_eq!(fixture.ledger(channel).await, [expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_or_changed_callback_has_no_effect_and_learns_nothing() {
    let fixture = Fixture::new().await;
    fixture.suggest("Ben").await;
    let messages = fixture.batch().await;
    let (text, mail) = (of(&messages, Channel::Sms), of(&messages, Channel::Email));
    let honest = [
        fixture.status_of(text, "undelivered", Some(30_006)),
        fixture.text_from("SM1", NUMBER, "STOP"),
        events(&json!([event(mail, "spamreport", &json!({}))])),
    ];
    let before = (fixture.ledger("sms").await, fixture.ledger("email").await);
    for callback in &honest {
        let changed = |change: &dyn Fn(&mut Callback)| {
            let mut callback = callback.clone();
            change(&mut callback);
            callback
        };
        let forged = [
            changed(&|it| it.headers.clear()),
            changed(&|it| it.headers[1].1 = "AAAA".to_owned()),
            changed(&|it| it.headers[1].1 = "no base64".to_owned()),
            changed(&|it| it.body.push(' ')),
            changed(&|it| it.body = format!("{}~", &it.body[..it.body.len() - 1])),
            changed(&|it| it.body.clear()),
        ];
        for forged in forged {
            assert_eq!(fixture.deliver(&forged).await, 404, "{forged:?}");
        }
    }
    // The signature of another message, and of another address.
    let mut other = fixture.status_of(text, "delivered", None);
    other.url = other.url.replacen("message=", "message=0", 1);
    assert_eq!(fixture.deliver(&other).await, 404);
    let mut stolen = fixture.text_from("SM1", NUMBER, "STOP");
    stolen.url = text.status_callback.clone().unwrap();
    assert_eq!(fixture.deliver(&stolen).await, 404);
    assert_eq!((fixture.ledger("sms").await, fixture.ledger("email").await), before);
    assert_eq!(fixture.shown().await, (true, true));
}

/// `tests/clients/messaging` checks the signatures of this file with the official libraries of Twilio and `SendGrid`.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_official_libraries_sign_is_accepted() {
    let fixture = Fixture::new().await;
    let signed: Vec<Value> = serde_json::from_str(include_str!("callbacks/signed.json")).unwrap();
    for callback in &signed {
        let path = callback["url"].as_str().unwrap().strip_prefix(WEBHOOKS_URL).unwrap();
        let send = async |body: String| {
            let mut request = Request::post(path).header("x-forwarded-for", "192.0.2.1");
            for (name, value) in callback["headers"].as_object().unwrap() {
                request = request.header(name, value.as_str().unwrap());
            }
            fixture.send(request.body(Body::from(body)).unwrap()).await.0.as_u16()
        };
        let body = callback["body"].as_str().unwrap();
        assert_eq!(send(format!("{body} ")).await, 404, "{callback}");
        assert!(matches!(send(body.to_owned()).await, 200 | 204), "{callback}");
    }
    // One of them was a STOP.
    assert_eq!(fixture.shown().await, (false, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_than_any_callback_is_not_read() {
    let fixture = Fixture::new().await;
    let long = fixture.text_from("SM1", NUMBER, &"x".repeat(twilio::MAX_BODY_BYTES));
    assert_eq!(fixture.deliver(&long).await, 404);
    let long = events(&json!([{ "event": "open", "text": "x".repeat(sendgrid::MAX_BODY_BYTES) }]));
    assert_eq!(fixture.deliver(&long).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_ends_texts_until_start_and_counts_once_however_late_it_is_repeated() {
    let fixture = Fixture::new().await;
    let (stop, start) = (fixture.text_from("SM1", NUMBER, "Stop"), fixture.text_from("SM2", NUMBER, "START"));
    assert_eq!(fixture.deliver(&stop).await, 200);
    assert_eq!(fixture.shown().await, (false, true));
    assert_eq!(fixture.channels_of_batch().await, [Channel::Email]);
    assert_eq!(fixture.deliver(&start).await, 200);
    assert_eq!(fixture.shown().await, (true, true));
    assert_eq!(fixture.channels_of_batch().await, [Channel::Email, Channel::Sms]);
    // Twilio repeats the STOP a day late: the person's last word was START.
    assert_eq!(fixture.deliver(&stop).await, 200);
    assert_eq!(fixture.shown().await, (true, true));
    // A number of no one, and words that say nothing.
    for callback in [fixture.text_from("SM3", "+12125550199", "STOP"), fixture.text_from("SM4", NUMBER, "Hi")]
    {
        assert_eq!(fixture.deliver(&callback).await, 200);
    }
    assert_eq!(fixture.shown().await, (true, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_whom_twilio_knows_to_have_left_gets_no_more_texts() {
    let fixture = Fixture::new().await;
    fixture.messaging.inbox.suppress(NUMBER);
    assert_eq!(fixture.channels_of_batch().await, [Channel::Email]);
    assert_eq!(fixture.shown().await, (false, true));
    let asked = fixture.messaging.inbox.requests(Channel::Sms);
    assert_eq!(fixture.channels_of_batch().await, [Channel::Email]);
    assert_eq!(fixture.messaging.inbox.requests(Channel::Sms), asked);

    // The person turns texts on again in the application.
    fixture.messaging.inbox.restore(NUMBER);
    fixture.stack.run("UPDATE notification_preferences SET sms_enabled = true").await;
    assert_eq!(fixture.channels_of_batch().await, [Channel::Email, Channel::Sms]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landline_gets_no_second_text_and_its_owner_e_mail() {
    let fixture = Fixture::new().await;
    fixture.stack.run("UPDATE notification_preferences SET email_enabled = false").await;
    fixture.suggest("Ben").await;
    let messages = fixture.batch().await;
    let text = of(&messages, Channel::Sms);
    fixture.deliver(&fixture.status_of(text, "undelivered", Some(30_006))).await;
    assert_eq!(fixture.state("sms").await, "bounced");
    assert_eq!(fixture.channels_of_batch().await, [Channel::Email]);
    assert_eq!(fixture.shown().await, (true, false), "it is no word of the person's");
    // Another number is another matter.
    fixture.stack.run("UPDATE user_phone_numbers SET phone_number = '+12125550101'").await;
    assert_eq!(fixture.channels_of_batch().await, [Channel::Sms]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_bounced_gets_no_second_e_mail() {
    let fixture = Fixture::new().await;
    fixture.suggest("Ben").await;
    let messages = fixture.batch().await;
    let mail = of(&messages, Channel::Email);
    fixture.deliver(&events(&json!([event(mail, "bounce", &json!({ "type": "bounce" }))]))).await;
    assert_eq!(fixture.channels_of_batch().await, [Channel::Sms]);
    fixture.stack.run("UPDATE users SET email = 'new@example.test'").await;
    assert_eq!(fixture.channels_of_batch().await, [Channel::Email, Channel::Sms]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_ends_e_mail_once_and_a_dropped_message_says_why() {
    for (what, more) in [
        ("spamreport", json!({})),
        ("unsubscribe", json!({})),
        ("dropped", json!({ "reason": "Spam Reporting Address" })),
        ("dropped", json!({ "reason": "Unsubscribed Address" })),
    ] {
        let fixture = Fixture::new().await;
        fixture.suggest("Ben").await;
        let messages = fixture.batch().await;
        let callback = events(&json!([event(of(&messages, Channel::Email), what, &more)]));
        assert_eq!(fixture.deliver(&callback).await, 204);
        assert_eq!(fixture.shown().await, (true, false), "{what} {more}");
        assert_eq!(fixture.channels_of_batch().await, [Channel::Sms], "{what} {more}");
        fixture.stack.run("UPDATE notification_preferences SET email_enabled = true").await;
        assert_eq!(fixture.deliver(&callback).await, 204);
        assert_eq!(fixture.shown().await, (true, true), "a repeated event is no new word: {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_e_mail_can_be_left_with_one_click_and_a_scanner_leaves_nothing() {
    let fixture = Fixture::new().await;
    fixture.suggest("Ben").await;
    let messages = fixture.batch().await;
    let mail = of(&messages, Channel::Email);
    let header = |name: &str| {
        let found = mail.headers.iter().find(|(found, _)| found == name);
        found.unwrap_or_else(|| panic!("{name} is missing: {:?}", mail.headers)).1.clone()
    };
    assert_eq!(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    let url = header("List-Unsubscribe").trim_matches(['<', '>']).to_owned();
    for body in [&mail.text, &mail.html] {
        assert!(body.as_ref().unwrap().contains(&url), "the footer has the link, too");
    }
    let path = url.strip_prefix(WEBHOOKS_URL).unwrap();
    let (status, page) = fixture.send(Request::get(path).body(Body::empty()).unwrap()).await;
    assert!(status == 200 && page.contains("<form method=\"post\"><button>"), "{page}");
    assert!(!page.contains("ada@"), "it tells no address");
    assert_eq!(fixture.shown().await, (true, true), "looking changes nothing");

    let one_click = || Request::post(path).body(Body::from("List-Unsubscribe=One-Click")).unwrap();
    for _ in 0..2 {
        assert_eq!(fixture.send(one_click()).await.0, 200);
        assert_eq!(fixture.shown().await, (true, false));
    }
    assert_eq!(fixture.channels_of_batch().await, [Channel::Sms]);
    let lists = fixture.stack.rows::<(String,)>("SELECT channel || ':' || list FROM jobs.opt_outs").await;
    assert_eq!(lists, [("email:ideas".to_owned(),)], "what the account depends on is another list");
    let forged = path.replacen("t=", "t=A", 1);
    assert_eq!(fixture.send(Request::post(forged).body(Body::empty()).unwrap()).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_a_mail_say_we_met_not_now_or_never_and_the_last_word_counts() {
    let fixture = Fixture::new().await;
    let suggestion = fixture.suggest("Ben").await;
    let messages = fixture.batch().await;
    let html = of(&messages, Channel::Email).html.clone().unwrap();
    let mut paths: Vec<String> = html
        .split('"')
        .filter_map(|part| part.strip_prefix(WEBHOOKS_URL).filter(|path| path.starts_with("/suggestion?t=")))
        .map(str::to_owned)
        .collect();
    paths.dedup();
    let [met, not_now, never] = paths.as_slice() else { panic!("three acts: {paths:?}") };
    let standing = async || {
        fixture
            .stack
            .rows::<(String, bool, bool, i64)>(&format!(
                "SELECT s.status::text, s.snoozed_until IS NOT NULL, c.last_contact_date IS NOT NULL,
                    (SELECT count(*) FROM jobs.excluded_contacts e WHERE e.contact_id = c.id)
                 FROM suggestions s JOIN contacts c ON c.id = s.contact_id WHERE s.id = '{suggestion}'"
            ))
            .await
            .remove(0)
    };
    let untouched = ("pending".to_owned(), false, false, 0);
    for path in &paths {
        let (status, page) = fixture.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert!(status == 200 && page.contains("<form method=\"post\">"), "{page}");
    }
    assert_eq!(standing().await, untouched, "a scanner fetches every link");

    let cached = format!("suggestion:list:{}", fixture.user);
    for (path, expected) in [
        (not_now, ("snoozed".to_owned(), true, false, 0)),
        (never, ("dismissed".to_owned(), false, false, 1)),
        (not_now, ("snoozed".to_owned(), true, false, 0)),
        (met, ("dismissed".to_owned(), false, true, 0)),
    ] {
        for _ in 0..2 {
            fixture.stack.redis(&["SET", &cached, "[]"]).await;
            let (status, _) = fixture.send(Request::post(path).body(Body::empty()).unwrap()).await;
            assert_eq!((status.as_u16(), standing().await), (200, expected.clone()));
            let left = fixture.stack.redis(&["EXISTS", &cached]).await;
            assert_eq!(format!("{left:?}"), "int(0)", "the application shows what the person said");
        }
    }
    // Said again weeks later it is no other meeting.
    let met_at =
        async || fixture.stack.rows::<(String,)>("SELECT last_contact_date::text FROM contacts").await;
    let first = met_at().await;
    fixture.stack.advance(WEEK_SECONDS);
    assert_eq!(fixture.send(Request::post(met).body(Body::empty()).unwrap()).await.0, 200);
    assert_eq!(met_at().await, first);
    // A link for one act does nothing at the address of another.
    let elsewhere = met.replacen("/suggestion", "/unsubscribe", 1);
    assert_eq!(fixture.send(Request::post(elsewhere).body(Body::empty()).unwrap()).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn yes_to_the_question_ends_the_silence_and_a_scanner_does_not_say_it() {
    let fixture = Fixture::new().await;
    for _ in 0..6 {
        assert_eq!(fixture.channels_of_batch().await, [Channel::Email, Channel::Sms]);
    }
    fixture.suggest("Ben").await;
    let messages = fixture.batch().await;
    let html = of(&messages, Channel::Email).html.clone().unwrap();
    assert!(html.contains("Yes, more ideas"), "{html}");
    let mut links = html.split('"').filter_map(|part| part.strip_prefix(WEBHOOKS_URL));
    let yes = links.rfind(|path| path.starts_with("/suggestion?t=")).unwrap();
    let (status, page) = fixture.send(Request::get(yes).body(Body::empty()).unwrap()).await;
    assert!(status == 200 && page.contains("<form method=\"post\">"), "{page}");
    assert_eq!(fixture.channels_of_batch().await, []);
    assert_eq!(fixture.send(Request::post(yes).body(Body::empty()).unwrap()).await.0, 200);
    assert_eq!(fixture.channels_of_batch().await, [Channel::Email, Channel::Sms]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_does_not_touch_what_the_two_have_arranged() {
    let fixture = Fixture::new().await;
    let suggestion = fixture.suggest("Ben").await;
    fixture.stack.run("UPDATE suggestions SET status = 'accepted'").await;
    let suggestions = Suggestions::from(fixture.stack.setup([]).database().unwrap());
    for act in [Act::NotNow, Act::WeMet, Act::Never, Act::StillUseful] {
        suggestions.act(suggestion, act, fixture.stack.now()).await.unwrap().unwrap();
        let status = fixture.stack.rows::<(String,)>("SELECT status::text FROM suggestions").await;
        assert_eq!(status, [("accepted".to_owned(),)], "{act:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_met_as_arranged_has_met_at_that_time_however_often_it_is_said() {
    let fixture = Fixture::new().await;
    let suggestion = fixture.suggest("Ben").await;
    let arranged =
        "UPDATE suggestions SET status = 'accepted', proposed_timeslot_start = now() - interval '3 hours',
        proposed_timeslot_end = now() - interval '2 hours'";
    fixture.stack.run(arranged).await;
    let suggestions = Suggestions::from(fixture.stack.setup([]).database().unwrap());
    for _ in 0..2 {
        suggestions.act(suggestion, Act::WeMet, fixture.stack.now()).await.unwrap().unwrap();
        let has_met = "SELECT last_contact_date = proposed_timeslot_end FROM contacts, suggestions";
        assert_eq!(fixture.stack.rows::<(Option<bool>,)>(has_met).await, [(Some(true),)]);
        fixture.stack.advance(86_400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_is_also_written_where_the_application_shows_it() {
    let fixture = Fixture::new().await;
    fixture.stack.run(LATER_SCHEMA).await;
    let suggestion = fixture.suggest("Ben").await;
    let suggestions = Suggestions::from(fixture.stack.setup([]).database().unwrap());
    let excluded =
        async || fixture.stack.rows::<(i64,)>("SELECT count(*) FROM suggestion_exclusions").await.remove(0).0;
    let now = fixture.stack.now();
    suggestions.act(suggestion, Act::Never, now).await.unwrap().unwrap();
    assert_eq!(excluded().await, 1);
    suggestions.act(suggestion, Act::NotNow, now).await.unwrap().unwrap();
    assert_eq!(excluded().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_text_to_a_number_says_how_to_stop_them() {
    let fixture = Fixture::new().await;
    let mut says = Vec::new();
    for (number, before) in [(NUMBER, "sent"), (NUMBER, "failed"), (NUMBER, "sent"), ("+12125550101", "sent")]
    {
        let settle = format!("UPDATE jobs.notification_deliveries SET state = '{before}', failure = '30003'");
        fixture.stack.run(&settle).await;
        fixture.stack.run(&format!("UPDATE user_phone_numbers SET phone_number = '{number}'")).await;
        fixture.suggest("Ben").await;
        let messages = fixture.batch().await;
        says.push(of(&messages, Channel::Sms).text.as_ref().unwrap().contains("Reply STOP to stop"));
    }
    assert_eq!(says, [true, true, false, true], "one that failed was read by no one");
}
