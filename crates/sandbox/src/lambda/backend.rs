//! The sandbox backend: an invocation and a call that comes back make a sandbox.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use protocol::frame::{Layer, LayerReport};
use protocol::lambda::{self, Invocation, LAMBDA_VERSION, MAX_ADDRESSES, to_hex};
use seal::GuestKey;
use seal::channel::Call;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

use super::api::{Function, Invoked, LambdaApi};
use super::aws::AwsError;
use super::configuration::LambdaConfig;
use super::invocation::End;
use super::limits::{self, MAX_TIMEOUT_SECONDS};
use super::listener::{Expectation, Guest, Listener};
use super::stream::{SealedReader, SealedWriter};
use crate::{Backend, Capabilities, Channel, Sandbox, SandboxError, SandboxId, Template, merge_layers};

/// Name of the sandbox backend.
pub(super) const NAME: &str = "lambda";
/// How long what AWS says of the function is believed.
const FUNCTION_AGE: Duration = Duration::from_secs(60);
/// Execution environments that are tried, where those that come are not new.
const ENVIRONMENTS_TRIED: u32 = 3;
/// After the channel's end, how long the guest may take to answer its invocation.
const DISCARD_LIMIT: Duration = Duration::from_secs(10);
/// The longest it may take to look up the advertised name.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
/// The step's folder in a function, where nothing but /tmp can be written to.
const WORKSPACE: &str = "/tmp/workspace";
/// The step's home in a function.
const HOME: &str = "/tmp/home";
/// Where layers of a function have their programs, beside the usual folders.
const LAYERS_PATH: &str = "/opt/bin:/var/lang/bin";

/// Makes sandboxes of invocations of one function.
pub struct LambdaBackend {
    config: LambdaConfig,
    api: Arc<LambdaApi>,
    listener: Listener,
    function: Mutex<Option<(Instant, Function)>>,
}

impl LambdaBackend {
    /// Begins to listen; AWS is not asked yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on, or AWS's endpoint is not known.
    pub fn start(config: LambdaConfig) -> Result<Self, SandboxError> {
        let unavailable = |reason: String, remedy: &str| SandboxError::Unavailable {
            backend: NAME,
            reason,
            remedy: remedy.to_owned(),
        };
        let api = LambdaApi::new(&config.aws).map_err(|error| {
            unavailable(error.to_string(), "set `lambda.region` and `lambda.endpoint` right")
        })?;
        let listener = Listener::bind(config.listen).map_err(|error| {
            let reason = format!("{} cannot be listened on: {error}", config.listen);
            unavailable(reason, "set `lambda.listen` to a free address of this machine that functions reach")
        })?;
        if config.open_network {
            tracing::warn!(
                "steps in Lambda get the function's network as it is: all that its VPC and security groups let through"
            );
        }
        Ok(Self { config, api: Arc::new(api), listener, function: Mutex::default() })
    }

    /// Where it listens for guests.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The function as AWS describes it, or has a short time ago.
    async fn function(&self) -> Result<Function, SandboxError> {
        let mut known = self.function.lock().await;
        if let Some((since, function)) = &*known
            && since.elapsed() < FUNCTION_AGE
            && function.ready
        {
            return Ok(function.clone());
        }
        let name = &self.config.function;
        let found = self.api.function(name, self.config.qualifier.as_deref()).await;
        let function = found.map_err(|error| End::of(Err(error)).into_create_error())?;
        let function = function.ok_or_else(|| SandboxError::Unavailable {
            backend: NAME,
            reason: format!("there is no function `{name}`{}", self.qualified()),
            remedy: "deploy it: `sagewai sandbox lambda deploy`".to_owned(),
        })?;
        if !function.tenants && known.is_none() {
            tracing::warn!(
                function = name,
                "the function does not isolate tenants: an environment that AWS hands out twice is refused by the guest"
            );
        }
        if !function.ready {
            return Err(SandboxError::Create(format!(
                "the function `{name}` is being changed: {}",
                function.reason
            )));
        }
        *known = Some((Instant::now(), function.clone()));
        Ok(function)
    }

    fn qualified(&self) -> String {
        self.config
            .qualifier
            .as_ref()
            .map(|qualifier| format!(" with alias or version `{qualifier}`"))
            .unwrap_or_default()
    }

    /// The addresses that guests dial.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, SandboxError> {
        let own = self.listener.address();
        if self.config.advertise.is_empty() && !own.ip().is_unspecified() {
            return Ok(vec![own]);
        }
        let advertise = &self.config.advertise;
        let unavailable = |reason: String| {
            SandboxError::Unavailable {
            backend: NAME,
            reason,
            remedy: "set `lambda.advertise` to the host and port at which the function's network reaches this worker"
                .to_owned(),
        }
        };
        if advertise.is_empty() {
            return Err(unavailable(format!("guests cannot dial {own}")));
        }
        let found = tokio::time::timeout(LOOKUP_LIMIT, tokio::net::lookup_host(advertise)).await;
        match found {
            Ok(Ok(found)) => Ok(found.take(MAX_ADDRESSES).collect()),
            Ok(Err(error)) => Err(unavailable(format!("{advertise} cannot be looked up: {error}"))),
            Err(_) => Err(unavailable(format!("{advertise} cannot be looked up in {LOOKUP_LIMIT:?}"))),
        }
    }

    /// One invocation, until its guest has dialled in or it has ended.
    async fn call(&self, function: &Function, connect: &[SocketAddr]) -> Result<LambdaSandbox, End> {
        let failed = |error: &dyn std::fmt::Display| End::Failed(error.to_string());
        let key = GuestKey::generate().map_err(|error| failed(&error))?;
        let call = Call::generate().map_err(|error| failed(&error))?;
        let number = to_hex(&call.call);
        // A tenant of its own for every call, so that AWS never hands out an environment twice.
        let tenant = function.tenants.then(|| format!("sagewai-{number}"));
        let payload = serde_json::to_vec(&Invocation::Step(lambda::Call {
            version: LAMBDA_VERSION,
            connect: connect.to_vec(),
            call: number.clone(),
            token: to_hex(call.token.as_ref()),
            key: to_hex(&key.public_bytes()),
            tenant: tenant.clone(),
            open_network: self.config.open_network,
        }))
        .map_err(|error| failed(&error))?;
        let mut expected = self.listener.expect(key, call);
        let (end, mut ended) = oneshot::channel();
        let answering = tokio::spawn({
            let timeout = Duration::from_secs(function.timeout_seconds.into());
            let invoking = self.invoke(tenant, payload, timeout);
            async move { drop(end.send(End::of(invoking.await))) }
        });
        let id = SandboxId::new(format!("{}-{}", function.name, &number[..12]));
        tokio::select! {
            // A guest that dials in and ends at once is heard first: it may have said why.
            biased;
            guest = expected.guest() => Ok(LambdaSandbox::new(id, guest, ended, answering)),
            end = &mut ended => match end {
                Ok(End::Answered) | Err(_) => arrived_late(&mut expected, id, ended, answering).await,
                Ok(end) => Err(end),
            },
            () = tokio::time::sleep(self.config.dial_limit) => {
                answering.abort();
                let limit = self.config.dial_limit;
                let told: Vec<String> = connect.iter().map(ToString::to_string).collect();
                Err(End::Failed(format!(
                    "the function did not dial {} within {limit:?}: its subnets and security groups must let it reach the worker",
                    told.join(" or ")
                )))
            }
        }
    }

    fn invoke(
        &self,
        tenant: Option<String>,
        payload: Vec<u8>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Invoked, AwsError>> + Send + 'static {
        let api = Arc::clone(&self.api);
        let (name, qualifier) = (self.config.function.clone(), self.config.qualifier.clone());
        async move { api.invoke(&name, qualifier.as_deref(), tenant.as_deref(), &payload, timeout).await }
    }
}

/// The invocation has been answered, and the connection may still be in the listener's hands.
async fn arrived_late(
    expected: &mut Expectation,
    id: SandboxId,
    ended: oneshot::Receiver<End>,
    answering: JoinHandle<()>,
) -> Result<LambdaSandbox, End> {
    match tokio::time::timeout(Duration::from_millis(200), expected.guest()).await {
        Ok(guest) => Ok(LambdaSandbox::new(id, guest, ended, answering)),
        Err(_) => Err(End::Answered),
    }
}

#[async_trait]
impl Backend for LambdaBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            images: false,
            // A function has the memory that it was deployed with, not what the template says.
            limits: false,
            process_limit: false,
            disk_limit: false,
            file_limit: false,
            own_quotas: true,
            tunnel: false,
            tunnel_only: !self.config.open_network,
            // Whether there is a pseudo terminal in AWS's environments is not documented.
            terminal: false,
            interactive: true,
            full: false,
            hides_host: false,
            local: false,
            longest_step: Some(Duration::from_secs(MAX_TIMEOUT_SECONDS.into())),
            largest_input_bytes: None,
            largest_output_bytes: None,
            idle_bytes: 256 << 10,
            create_ms: 1500,
            path: format!("{}:{LAYERS_PATH}", crate::PATH),
            workspace: WORKSPACE.to_owned(),
            home: HOME.to_owned(),
        }
    }

    async fn check(&self) -> Result<(), SandboxError> {
        self.function().await.map(drop)
    }

    async fn create(&self, template: &Template) -> Result<Box<dyn Sandbox>, SandboxError> {
        let function = self.function().await?;
        limits::check(template, &function)?;
        let connect = self.addresses().await?;
        let mut last = None;
        for _ in 0..ENVIRONMENTS_TRIED {
            match self.call(&function, &connect).await {
                Ok(sandbox) => return Ok(Box::new(sandbox)),
                Err(End::Reused(why)) => {
                    tracing::info!(why, "an execution environment is not new; another is tried");
                    last = Some(End::Reused(why));
                }
                Err(end) => return Err(end.into_create_error()),
            }
        }
        Err(last.unwrap_or(End::Answered).into_create_error())
    }

    async fn layers(&self) -> Result<Vec<LayerReport>, SandboxError> {
        let function = self.function().await?;
        let number = Call::generate().map_err(|error| SandboxError::Create(error.to_string()))?.call;
        let tenant = function.tenants.then(|| format!("sagewai-{}", to_hex(&number)));
        let payload = serde_json::to_vec(&Invocation::Probe { version: LAMBDA_VERSION })
            .map_err(|error| SandboxError::Create(error.to_string()))?;
        let answer = self.invoke(tenant, payload, self.config.dial_limit).await;
        match answer {
            Ok(Invoked { payload, function_error: None, .. }) => {
                let answer: lambda::Answer = serde_json::from_slice(&payload).map_err(|error| {
                    SandboxError::Create(format!("the function's answer is malformed: {error}"))
                })?;
                Ok(merge_layers(&made(), &answer.layers))
            }
            answer => Err(End::of(answer).into_create_error()),
        }
    }
}

/// What the guest cannot see, and AWS does not give: it gives a virtual machine instead, which is no layer of ours to
/// vouch for.
fn made() -> Vec<LayerReport> {
    let absent = |layer, what: &str| LayerReport {
        layer,
        enforced: false,
        note: format!(
            "{what}: in Lambda the boundary is AWS's virtual machine, one for each step with tenant isolation"
        ),
    };
    vec![
        absent(Layer::MountNamespace, "the step sees the function's files"),
        absent(Layer::IpcNamespace, "there is none of its own"),
        absent(Layer::UtsNamespace, "there is none of its own"),
        absent(Layer::Landlock, "it is not set up"),
        absent(Layer::Cgroup, "the function's memory is the limit"),
    ]
}

/// One invocation whose guest has dialled in.
struct LambdaSandbox {
    id: SandboxId,
    channel: Option<Channel>,
    /// Ends when the invocation is answered.
    answering: JoinHandle<()>,
    /// Says why, if the guest ends before its first frame.
    obituary: Option<oneshot::Receiver<String>>,
}

impl LambdaSandbox {
    fn new(id: SandboxId, guest: Guest, ended: oneshot::Receiver<End>, answering: JoinHandle<()>) -> Self {
        let (to_reader, of_reader) = oneshot::channel();
        let (to_obituary, obituary) = oneshot::channel();
        tokio::spawn(async move {
            let Ok(end) = ended.await else { return };
            let told = end.obituary();
            drop(to_reader.send(told.clone()));
            drop(to_obituary.send(told));
        });
        let (reader, writer) = guest.connection.into_split();
        let channel = Channel {
            reader: Box::pin(SealedReader::new(reader, guest.opener, of_reader)),
            writer: Box::pin(SealedWriter::new(writer, guest.sealer)),
        };
        Self { id, channel: Some(channel), answering, obituary: Some(obituary) }
    }
}

#[async_trait]
impl Sandbox for LambdaSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn layers(&self) -> Vec<LayerReport> {
        made()
    }

    fn take_channel(&mut self) -> Option<Channel> {
        self.channel.take()
    }

    async fn obituary(&mut self) -> Option<String> {
        let obituary = self.obituary.take()?;
        tokio::time::timeout(DISCARD_LIMIT, obituary).await.ok()?.ok()
    }

    async fn discard(mut self: Box<Self>) -> Result<(), SandboxError> {
        // The channel's end is the guest's order to end; then it answers.
        drop(self.channel.take());
        if tokio::time::timeout(DISCARD_LIMIT, &mut self.answering).await.is_err() {
            self.answering.abort();
            tracing::warn!(sandbox = %self.id, "the function has not answered yet; AWS ends it at its time limit");
        }
        Ok(())
    }
}
