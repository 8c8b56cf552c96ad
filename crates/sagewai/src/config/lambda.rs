//! What sandboxes in AWS Lambda are configured with.

use std::path::PathBuf;

use super::layers::Layers;
use super::parts::path;
use crate::failure::Failure;

/// Name of the function, where nothing else is said.
const FUNCTION: &str = "sagewai-sandbox";
/// Alias that `sagewai sandbox lambda deploy` points at what it has deployed.
const QUALIFIER: &str = "live";
/// Where guests dial in.
const LISTEN: &str = "0.0.0.0:7443";

/// The Lambda sandbox backend. Empty texts stand for what AWS's own settings say.
#[derive(Clone, Debug)]
pub(crate) struct LambdaSettings {
    /// Name of the function.
    pub(crate) function: String,
    /// Alias or version that is invoked.
    pub(crate) qualifier: Option<String>,
    /// Region.
    pub(crate) region: Option<String>,
    /// URL of the API in the place of AWS's own.
    pub(crate) endpoint: Option<String>,
    /// File with credentials in AWS's shared form, in the place of the standard chain.
    pub(crate) credentials: Option<PathBuf>,
    /// Where the worker listens for its guests.
    pub(crate) listen: String,
    /// Where guests find it.
    pub(crate) advertise: String,
    /// Whether steps get the function's network as it is.
    pub(crate) open_network: bool,
    /// How long a function may take to dial, seconds.
    pub(crate) dial_seconds: u64,
}

impl LambdaSettings {
    pub(crate) fn resolve(layers: &Layers) -> Result<LambdaSettings, Failure> {
        let optional = |name: &str, default: &str| {
            let text: String = layers.pick(name, None, || default.to_owned())?;
            Ok::<_, Failure>(Some(text).filter(|text| !text.is_empty()))
        };
        let credentials = path(layers, "lambda.credentials", None, PathBuf::new)?;
        Ok(LambdaSettings {
            function: layers.pick("lambda.function", None, || FUNCTION.to_owned())?,
            qualifier: optional("lambda.qualifier", QUALIFIER)?,
            region: optional("lambda.region", "")?,
            endpoint: optional("lambda.endpoint", "")?,
            credentials: (!credentials.as_os_str().is_empty()).then_some(credentials),
            listen: layers.pick("lambda.listen", None, || LISTEN.to_owned())?,
            advertise: layers.pick("lambda.advertise", None, String::new)?,
            open_network: layers.pick("lambda.open-network", None, || false)?,
            dial_seconds: layers.pick("lambda.dial-seconds", None, || 30)?,
        })
    }
}
