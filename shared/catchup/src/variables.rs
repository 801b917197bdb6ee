//! The environment variables of the functions, besides those of the platform. `infra/README.md` has the table of all.

use shared::config::variables::{SECRET, SERVICE};

shared::variables! {
    ENCRYPTION_KEY: "Key of the OAuth tokens in the database.", "64 hexadecimal digits", None, SECRET;
    GOOGLE_CLIENT_ID: "OAuth client of the application.", "a client id", None, SECRET;
    GOOGLE_CLIENT_SECRET: "Secret of that client.", "any text", None, SECRET;
    GOOGLE_TOKEN_URL: "Token endpoint.", "https://host/path (http on loopback)", Some("https://oauth2.googleapis.com/token"), SERVICE;
    GOOGLE_API_URL: "Endpoint of Calendar and People when it is not Google's.", "https://host (http on loopback)", None, SERVICE;
    APP_BASE_URL: "Where people use the application: links to it begin with this.", "https://host", None, SERVICE;
    POSTAL_ADDRESS: "Postal address of the sender, at the end of every e-mail, which laws such as CAN-SPAM want.", "one line", None, SERVICE;
    APP_SUGGESTIONS_URL: "Page of the application that shows suggestions, when it is not `APP_BASE_URL/app`.", "https://host/path", None, SERVICE;
    APP_PREFERENCES_URL: "Page of the application where people connect Google again and choose messages, when it is not `APP_BASE_URL/app?view=preferences`.", "https://host/path", None, SERVICE;
    WEBHOOKS_URL: "Public address of the service `webhooks`: links in messages and providers' callbacks lead there.", "https://host (http on loopback)", None, SERVICE;
    LINK_SIGNING_KEYS: "Keys of the links in messages: the first signs, all are accepted. To rotate, put a new one before the old one, and remove the old one when its links may end.", "one or two keys of 64 hexadecimal digits, separated by a comma", None, SECRET;
    SENDGRID_WEBHOOK_PUBLIC_KEY: "Key that SendGrid's signed event webhook shows; without it, its events are refused.", "the base64 text of the page `Signed Event Webhook`", None, SERVICE;
    TWILIO_ACCOUNT_SID: "Account at Twilio, which carries text messages.", "AC and 32 hexadecimal digits", None, SECRET;
    TWILIO_AUTH_TOKEN: "Token of that account.", "any text", None, SECRET;
    TWILIO_PHONE_NUMBER: "Sender of text messages, when no messaging service chooses one.", "a phone number such as +15551234567, a short code or a name of up to 11 letters", None, SERVICE;
    TWILIO_MESSAGING_SERVICE_SID: "Messaging service at Twilio that chooses the sender of each text message.", "MG and 32 hexadecimal digits", None, SERVICE;
    TWILIO_API_URL: "Endpoint of Twilio.", "https://host (http on loopback)", Some("https://api.twilio.com"), SERVICE;
    EMAIL_PROVIDER: "E-mail provider.", "sendgrid or smtp", Some("sendgrid"), SERVICE;
    SENDGRID_API_KEY: "Key of the account at SendGrid.", "any text", None, SECRET;
    SENDGRID_FROM_EMAIL: "Address that e-mail through SendGrid comes from.", "an e-mail address", None, SERVICE;
    SENDGRID_API_URL: "Endpoint of SendGrid.", "https://host (http on loopback)", Some("https://api.sendgrid.com"), SERVICE;
    SMTP_URL: "Mail server: `smtps` is TLS from the beginning, `smtp` insists on STARTTLS (but on loopback).", "smtps://user:password@host:port or smtp://…", None, SECRET;
    SMTP_FROM_EMAIL: "Address that e-mail over SMTP comes from.", "an e-mail address", None, SERVICE;
    CALENDAR_WEBHOOK_URL: "Where Google Calendar sends push notifications: the public address of the service `webhooks`, with `/google-calendar`.", "https://host/path (http on loopback)", None, SERVICE;
    LEGACY_SLOT_CACHE: "`true` also drops the slots that the running application cached, which needs SCAN.", "true or false", Some("false"), SERVICE;
}
