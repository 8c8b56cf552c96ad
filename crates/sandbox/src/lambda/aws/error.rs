//! What can go wrong between this program and AWS.

/// Why a call to AWS has no result.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// No source of the chain has credentials.
    #[error("there are no AWS credentials: {0}")]
    NoCredentials(String),
    /// A source has credentials that cannot be used.
    #[error("the AWS credentials cannot be used: {0}")]
    Credentials(String),
    /// No region is known.
    #[error("no AWS region is known: set `region`, AWS_REGION, or `region` in the profile")]
    NoRegion,
    /// The certificates of this machine cannot be read.
    #[error("the root certificates cannot be read: {0}")]
    Certificates(String),
    /// The address of the service cannot be used.
    #[error("the address `{0}` of the service is no URL with a host")]
    Address(String),
    /// Nothing came back.
    #[error("AWS cannot be reached: {0}")]
    Unreachable(String),
    /// What came back makes no sense.
    #[error("the answer of AWS is malformed: {0}")]
    Malformed(String),
    /// AWS refused.
    #[error("{code} (status {status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// AWS's name of the error, such as `ResourceNotFoundException`.
        code: String,
        /// AWS's sentence.
        message: String,
    },
}

impl AwsError {
    /// Whether AWS refused with this error.
    pub fn is(&self, name: &str) -> bool {
        matches!(self, AwsError::Refused { code, .. } if code == name)
    }

    /// Whether there are too many requests or too much concurrency now.
    pub fn is_throttling(&self) -> bool {
        matches!(self, AwsError::Refused { status: 429, .. })
            || self.is("ThrottlingException")
            || self.is("TooManyRequestsException")
    }

    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        self.is_throttling()
            || matches!(self, AwsError::Unreachable(_) | AwsError::Refused { status: 500.., .. })
    }
}
