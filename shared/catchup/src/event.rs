//! Codes of CatchUp's log entries that an alert, a metric or an operator depends on, next to those of the platform ([`shared::telemetry::EventCode`]).

/// What an entry is about, in its field `event`. The wording next to it is free and may change at any time; codes are never
/// renamed: `infra/gcp/metrics.json` counts by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum EventCode {
    /// The answer of a provider was lost or unclear.
    DeliveryUnknown,
    /// A provider took a message, and Postgres did not take its id.
    DeliveryNotRecorded,
    /// A provider took a message.
    MessageTaken,
    /// A provider refuses a message for good because of its recipient.
    MessageRefused,
    /// A message did not arrive, its recipient calls it spam, or leaves a list: reported later.
    MessageFailed,
    /// A provider's callback was not accepted for a fault of ours; the provider sends it again.
    CallbackNotAccepted,
    /// A provider refuses the application: its account, its sender or its request. Messages wait, and none is lost while it is of use.
    ApplicationRefused,
    /// A provider is out of order or cannot be reached. Messages wait.
    ProviderUnavailable,
    /// More of a sweep's quiet push channels are broken than chance explains.
    ManyStaleChannels,
    /// More of a sweep's renewals of push channels failed than chance explains.
    ManyFailedRenewals,
    /// Google refuses so many users' tokens that the fault is ours: no user is marked.
    ManyRefusedTokens,
    /// Google refuses the application itself: its OAuth client, its project, or its address for notifications.
    GoogleMisconfigured,
    /// Google's limit on a user's calls is met, and they wait.
    GoogleLimited,
    /// A push notification was answered with 503, and Google sends it again.
    PushNotAccepted,
    /// A push notification led to no sync.
    SyncNotEnqueued,
    /// Postgres did not take the failure of a sync.
    SyncFailureNotRecorded,
}
