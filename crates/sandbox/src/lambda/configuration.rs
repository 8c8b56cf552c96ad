//! What the operator says about sandboxes in Lambda.

use std::net::SocketAddr;
use std::time::Duration;

use super::aws::Settings;

/// Configuration of the sandbox backend.
#[derive(Clone, Debug)]
pub struct LambdaConfig {
    /// Region and endpoint of AWS Lambda.
    pub aws: Settings,
    /// Name of the function, without account and region.
    pub function: String,
    /// Alias or version that is invoked; absent means the unpublished latest.
    pub qualifier: Option<String>,
    /// Where the worker listens for its guests.
    pub listen: SocketAddr,
    /// Where guests find it, `host:port`; the host may be a name, which the worker looks up. Empty means `listen`.
    pub advertise: String,
    /// Whether steps get the function's network as it is; otherwise they get no internet sockets at all.
    pub open_network: bool,
    /// The longest from the invocation to the guest's call.
    pub dial_limit: Duration,
}

impl Default for LambdaConfig {
    fn default() -> Self {
        Self {
            aws: Settings::default(),
            function: "sagewai-sandbox".to_owned(),
            qualifier: Some("live".to_owned()),
            listen: SocketAddr::from(([0, 0, 0, 0], 7443)),
            advertise: String::new(),
            open_network: false,
            dial_limit: Duration::from_secs(30),
        }
    }
}
