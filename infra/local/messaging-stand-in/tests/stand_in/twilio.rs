//! Twilio's checks, its answers, and faults.

use messaging_stand_in::{Channel, Fault, Inbox, Kind, Times};
use serde_json::Value;

use crate::site::Site;

const TO: &str = "+15005550009";

impl Site {
    async fn twilio_as(&self, token: &str, fields: &[(&str, &str)]) -> reqwest::Result<(u16, Value)> {
        let account = &self.config.account_sid;
        let url = format!("{}/2010-04-01/Accounts/{account}/Messages.json", self.url);
        let request = self.http.post(url).basic_auth(account, Some(token)).form(fields);
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    pub(crate) async fn twilio(&self, fields: &[(&str, &str)]) -> (u16, Value) {
        self.twilio_as(&self.config.auth_token, fields).await.unwrap()
    }

    async fn text(&self) -> reqwest::Result<(u16, Value)> {
        let fields = [("To", TO), ("From", &self.config.phone_number), ("Body", "Hello")];
        self.twilio_as(&self.config.auth_token, &fields).await
    }
}

#[tokio::test]
async fn accepted_message_is_in_the_inbox_under_its_id() {
    let site = Site::start();
    let (status, answer) = site.text().await.unwrap();
    assert_eq!(status, 201);
    let messages = site.inbox.messages();
    assert_eq!(answer["sid"], messages[0].provider_id.as_str());
    assert_eq!((messages[0].to.as_str(), messages[0].text.as_deref()), (TO, Some("Hello")));
    assert_eq!((&answer["num_segments"], &answer["status"]), (&"1".into(), &"queued".into()));
}

#[tokio::test]
async fn twilio_stand_in_refuses_with_the_codes_of_twilio() {
    let site = Site::start();
    let from = site.config.phone_number.clone();
    let long = "a".repeat(1601);
    for (fields, code) in [
        (vec![("From", from.as_str()), ("Body", "x")], 21604),
        (vec![("To", "5005550009"), ("From", &from), ("Body", "x")], 21211),
        (vec![("To", TO), ("Body", "x")], 21603),
        (vec![("To", TO), ("From", "+15005550010"), ("Body", "x")], 21606),
        (vec![("To", &from), ("From", &from), ("Body", "x")], 21266),
        (vec![("To", TO), ("From", &from)], 21602),
        (vec![("To", TO), ("From", &from), ("Body", &long)], 21617),
    ] {
        let (status, answer) = site.twilio(&fields).await;
        assert_eq!(
            (status, &answer["code"], &answer["status"]),
            (400, &code.into(), &400.into()),
            "{answer}"
        );
        assert_eq!(answer["more_info"], format!("https://www.twilio.com/docs/errors/{code}"));
    }
    let (status, answer) = site.twilio_as("wrong", &[("To", TO)]).await.unwrap();
    assert_eq!((status, &answer["code"]), (401, &20003.into()));
    assert_eq!(site.inbox.messages(), []);
}

/// What a fault makes of one message: the status, if there is an answer, and how many messages were accepted.
async fn check(kind: Kind, status: Option<u16>, accepted: usize) {
    let site = Site::start();
    site.inbox.fault(Fault::new(Channel::Sms, kind).to(TO));
    let answer = site.text().await;
    assert_eq!(answer.as_ref().ok().map(|(status, _)| *status), status, "{kind:?}: {answer:?}");
    assert_eq!(site.inbox.messages().len(), accepted, "{kind:?}");
    assert_eq!(site.inbox.requests(Channel::Sms), 1);
    assert_eq!(site.text().await.unwrap().0, 201, "the fault has ended");
}

#[tokio::test]
async fn faults_apply_before_or_after_a_message_is_accepted() {
    check(Kind::Status { status: 400, code: 21610 }, Some(400), 0).await;
    check(Kind::Reset, None, 0).await;
    check(Kind::Slow { delay_ms: 1 }, Some(201), 1).await;
    check(Kind::ResetAfterAccept, None, 1).await;
    check(Kind::AcceptThenSlow { delay_ms: 1 }, Some(201), 1).await;
    check(Kind::AcceptThenStatus { status: 502 }, None, 1).await;
    check(Kind::AcceptThenGarbage, None, 1).await;
}

#[tokio::test]
async fn faults_are_added_and_removed_over_http() {
    let site = Site::start();
    let url = format!("{}/admin/faults", site.url);
    let fault = Fault::new(Channel::Sms, Kind::Status { status: 429, code: 20429 }).times(Times::Forever);
    site.http.post(&url).json(&fault).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(Inbox::faults(&site.inbox), [fault]);
    assert_eq!(site.text().await.unwrap().0, 429);
    site.http.delete(&url).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(site.text().await.unwrap().0, 201);
}

#[tokio::test]
async fn who_replied_stop_is_refused_until_start_and_a_service_chooses_the_sender() {
    let site = Site::start();
    let by_service = [("To", TO), ("MessagingServiceSid", "MG1"), ("Body", "Hello")];
    site.inbox.suppress(TO);
    let (status, answer) = site.twilio(&by_service).await;
    assert_eq!((status, &answer["code"]), (400, &21610.into()));
    site.inbox.restore(TO);
    let (status, answer) = site.twilio(&by_service).await;
    assert_eq!((status, answer["from"].as_str()), (201, Some(site.config.phone_number.as_str())));
}

#[tokio::test]
async fn an_account_that_has_sent_as_much_as_it_may_on_a_day_waits_for_the_next() {
    let site = Site::start();
    site.inbox.cap_texts(1);
    assert_eq!(site.text().await.unwrap().0, 201);
    let (status, answer) = site.text().await.unwrap();
    assert_eq!((status, &answer["code"]), (429, &63038.into()));
    site.inbox.cap_texts(2);
    assert_eq!(site.text().await.unwrap().0, 201);
}
