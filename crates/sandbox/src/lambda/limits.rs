//! What AWS allows a function and an invocation, known here so that what cannot work is refused before it costs anything.

use crate::{SandboxError, Template};

use super::api::Function;

/// Bytes of a mebibyte.
pub const MIB: u64 = 1 << 20;
/// Least memory of a function.
pub const MIN_MEMORY_MIB: u32 = 128;
/// Most memory of a function.
pub const MAX_MEMORY_MIB: u32 = 10_240;
/// Least size of /tmp.
pub const MIN_EPHEMERAL_MIB: u32 = 512;
/// Largest size of /tmp.
pub const MAX_EPHEMERAL_MIB: u32 = 10_240;
/// The longest an invocation may take.
pub const MAX_TIMEOUT_SECONDS: u32 = 900;
/// Processes and threads of an execution environment.
pub(super) const MAX_PROCESSES: u32 = 1024;
/// Memory at which a function has one whole processor.
const MEMORY_OF_ONE_CPU_MIB: u64 = 1769;

/// Refuses what no function could give, or what this one does not.
pub(super) fn check(template: &Template, function: &Function) -> Result<(), SandboxError> {
    if let Some(image) = &template.image {
        return Err(refused(
            format!(
                "the step names the image {image}, and the image of a Lambda function is fixed when it is deployed"
            ),
            "leave `image` out, deploy the function from that image, or use another sandbox backend"
                .to_owned(),
        ));
    }
    let limits = &template.limits;
    let mib = |bytes: u64| bytes.div_ceil(MIB);
    let asked = [
        (
            "memory",
            mib(limits.memory_bytes),
            u64::from(function.memory_mib),
            u64::from(MAX_MEMORY_MIB),
            "MiB",
            "--memory",
        ),
        (
            "disk",
            mib(limits.disk_bytes),
            u64::from(function.ephemeral_mib),
            u64::from(MAX_EPHEMERAL_MIB),
            "MiB",
            "--disk",
        ),
    ];
    for (what, asked, given, most, unit, flag) in asked {
        if asked > most {
            return Err(refused(
                format!(
                    "the step asks for {asked} {unit} of {what}, and no Lambda function has more than {most}"
                ),
                "ask for less, or use another sandbox backend".to_owned(),
            ));
        }
        if asked > given {
            return Err(refused(
                format!(
                    "the step asks for {asked} {unit} of {what}, and the function `{}` has {given}",
                    function.name
                ),
                format!("deploy it with {flag} {asked}, or ask for less"),
            ));
        }
    }
    if limits.processes > MAX_PROCESSES {
        return Err(refused(
            format!(
                "the step asks for {} processes, and an execution environment has {MAX_PROCESSES}",
                limits.processes
            ),
            "ask for fewer".to_owned(),
        ));
    }
    let cpu_millis = u64::from(function.memory_mib) * 1000 / MEMORY_OF_ONE_CPU_MIB;
    if u64::from(limits.cpu_millis) > cpu_millis {
        let memory = (u64::from(limits.cpu_millis) * MEMORY_OF_ONE_CPU_MIB).div_ceil(1000);
        return Err(refused(
            format!(
                "the step asks for {} thousandths of a processor, and the function `{}` has {cpu_millis}: AWS gives them by \
                 memory",
                limits.cpu_millis, function.name
            ),
            format!("deploy it with --memory {memory}, or ask for less"),
        ));
    }
    Ok(())
}

fn refused(reason: String, remedy: String) -> SandboxError {
    SandboxError::Unavailable { backend: super::backend::NAME, reason, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SandboxLimits;

    fn function() -> Function {
        Function {
            name: "steps".to_owned(),
            memory_mib: 1769,
            ephemeral_mib: 1024,
            timeout_seconds: 900,
            tenants: true,
            ready: true,
            ..Function::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut Template)) -> Option<String> {
        let mut template = Template::default();
        change(&mut template);
        check(&template, &function()).err().map(|error| error.to_string())
    }

    #[test]
    fn what_fits_the_function_is_taken() {
        assert_eq!(refusal(|_| {}), None, "the defaults fit the defaults of `deploy`");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_remedy() {
        let limits =
            |change: fn(&mut SandboxLimits)| refusal(|template| change(&mut template.limits)).unwrap();
        assert!(refusal(|template| template.image = Some("alpine".to_owned())).unwrap().contains("alpine"));
        assert!(limits(|limits| limits.memory_bytes = 1770 * MIB).contains("--memory 1770"));
        assert!(limits(|limits| limits.memory_bytes = 10_241 * MIB).contains("more than 10240"));
        assert!(limits(|limits| limits.disk_bytes = 2048 * MIB).contains("--disk 2048"));
        assert!(limits(|limits| limits.processes = 2000).contains("1024"));
        assert!(limits(|limits| limits.cpu_millis = 2000).contains("--memory 3538"));
    }
}
