//! What can go wrong in this crate.

use std::path::PathBuf;

/// An error of this crate: a wrong configuration, tensors that do not fit together, or files that
/// cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// An input tensor has another shape or type than the model needs.
    #[error("{what}: expected {expected}, found {found}")]
    Input {
        /// Which input.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A setting that cannot be built.
    #[error("setting `{setting}` is {found}: {must}")]
    Setting {
        /// The setting's path in the configuration.
        setting: String,
        /// Its value.
        found: String,
        /// What it must be.
        must: String,
    },
    /// A weight the model needs is nowhere in the file.
    #[error("{file}: no tensor `{name}`: this file belongs to another configuration")]
    MissingTensor {
        /// The file that was read.
        file: String,
        /// The tensor's name.
        name: String,
    },
    /// A weight has another shape than the configuration asks for.
    #[error(
        "{file}: tensor `{name}` has shape {found:?}, the configuration asks for {expected:?}: \
         this file belongs to another configuration"
    )]
    TensorShape {
        /// The file that was read.
        file: String,
        /// The tensor's name.
        name: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A weight is not stored as floating point numbers.
    #[error("{file}: tensor `{name}` holds {found}, the model needs f16, bf16, f32 or f64")]
    TensorType {
        /// The file that was read.
        file: String,
        /// The tensor's name.
        name: String,
        /// What it holds.
        found: String,
    },
    /// A weight holds NaN or infinity.
    #[error("{file}: tensor `{name}` holds values that are not finite: use an earlier checkpoint")]
    NotFinite {
        /// The file that was read.
        file: String,
        /// The tensor's name.
        name: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file was read but does not hold what it should.
    #[error("{path}: {cause}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A thread for the deep recursion of a backward pass could not be started.
    #[error("cannot start a thread for the training step: {0}")]
    Thread(std::io::Error),
    /// The address at which processes of a training meet cannot be used.
    #[error("{address}: {source}: is MASTER_ADDR:MASTER_PORT where process 0 runs?")]
    Network {
        /// The address.
        address: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process of a training does not answer.
    #[error(
        "process {rank} of this training does not answer ({source}): start all of them again, and \
         they go on from the last checkpoint"
    )]
    Process {
        /// Which process.
        rank: usize,
        /// The cause.
        source: std::io::Error,
    },
    /// A process does not belong to this training.
    #[error(
        "process {rank} has another configuration, another corpus, another number of processes, another \
         checkpoint or the rank of another: start all with the same command and the same --out"
    )]
    OtherRun {
        /// What it takes itself for.
        rank: usize,
    },
}

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;
