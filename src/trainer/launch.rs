//! Which of several processes that train together this is.

use std::env;

use anyhow::{Context, Result, ensure};
#[cfg(feature = "nccl")]
use candle_core::Device;
use m3w_document::Sha256;
#[cfg(feature = "nccl")]
use m3w_model::train::Nccl;
use m3w_model::train::{Collective, Single, Star};
use m3w_model::{Compute, DeviceName};
use m3w_shards::Share;

/// Where process 0 is met if nothing else is said.
const ADDRESS: &str = "127.0.0.1";
const PORT: u16 = 29500;

/// The place of a process in a launch, as `torchrun` and its like tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// This process, from 0.
    pub rank: usize,
    /// All processes.
    pub size: usize,
    /// Host and port where process 0 listens.
    pub address: String,
    /// This process among those of its machine, where that is told.
    pub local_rank: Option<usize>,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            rank: 0,
            size: 1,
            address: format!("{ADDRESS}:{PORT}"),
            local_rank: None,
        }
    }
}

impl Launch {
    /// What `RANK`, `LOCAL_RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` say; one process alone where the
    /// first two are not set.
    ///
    /// # Errors
    ///
    /// If one of them is no number, or only one of the first two is there.
    pub fn from_environment() -> Result<Self> {
        Self::from_values(|name| env::var(name).ok())
    }

    fn from_values(value: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let number = |name: &str| -> Result<Option<usize>> {
            let parsed = value(name).map(|text| text.trim().parse());
            parsed
                .transpose()
                .with_context(|| format!("{name} is not a number"))
        };
        let (rank, size) = match (number("RANK")?, number("WORLD_SIZE")?) {
            (None, None) => return Ok(Self::default()),
            (Some(rank), Some(size)) => (rank, size),
            _ => anyhow::bail!("of RANK and WORLD_SIZE only one is set: set both, or neither"),
        };
        ensure!(
            rank < size,
            "RANK is {rank} and WORLD_SIZE {size}: ranks go from 0 to WORLD_SIZE - 1"
        );
        let host = value("MASTER_ADDR").unwrap_or_else(|| ADDRESS.to_owned());
        let port = number("MASTER_PORT")?.unwrap_or(usize::from(PORT));
        Ok(Self {
            rank,
            size,
            address: format!("{host}:{port}"),
            local_rank: number("LOCAL_RANK")?,
        })
    }

    /// The device of this process: `cuda` without a number is the GPU of its own number on its machine.
    ///
    /// # Errors
    ///
    /// If it is no device.
    pub fn device(&self, text: &str) -> Result<DeviceName> {
        Ok(match (text, self.local_rank) {
            ("cuda", Some(number)) => DeviceName::Cuda(number),
            _ => text.parse()?,
        })
    }

    /// Whether this process writes for all.
    pub(super) fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// The rows that are this process's.
    pub(super) fn share(&self) -> Share {
        Share {
            rank: self.rank,
            of: self.size,
        }
    }

    /// Meets the others. `sameness` is what must be the same in all of them.
    pub(super) fn join(&self, sameness: &str, compute: &Compute) -> Result<Box<dyn Collective>> {
        if self.size == 1 {
            return Ok(Box::new(Single));
        }
        let way = Way::of(compute);
        tracing::info!(
            "process {} of {}, meeting the others at {}; gradients go by {way:?}",
            self.rank,
            self.size,
            self.address
        );
        let fingerprint = Sha256::of(format!("{sameness} {way:?}").as_bytes()).0;
        let star = Star::connect(self.rank, self.size, &self.address, fingerprint)?;
        match way {
            Way::Tcp => Ok(Box::new(star)),
            #[cfg(feature = "nccl")]
            Way::Nccl => Ok(Box::new(Nccl::join(star, compute)?)),
        }
    }
}

/// How gradients get from one process to another.
#[derive(Debug, Clone, Copy)]
enum Way {
    Tcp,
    #[cfg(feature = "nccl")]
    Nccl,
}

impl Way {
    fn of(compute: &Compute) -> Self {
        match compute.device() {
            #[cfg(feature = "nccl")]
            Device::Cuda(_) => Self::Nccl,
            _ => Self::Tcp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(values: &[(&str, &str)]) -> Result<Launch> {
        Launch::from_values(|name| {
            let found = values.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_process_without_a_launcher_is_alone() {
        assert_eq!(launch(&[]).unwrap(), Launch::default());
    }

    #[test]
    fn the_variables_of_torchrun_are_read() {
        let found = launch(&[
            ("RANK", "1"),
            ("WORLD_SIZE", "2"),
            ("MASTER_ADDR", "10.0.0.7"),
            ("MASTER_PORT", "4000"),
        ]);
        let found = found.unwrap();
        assert_eq!((found.rank, found.size), (1, 2));
        assert_eq!(found.address, "10.0.0.7:4000");
    }

    #[test]
    fn each_process_of_a_machine_has_a_gpu_of_its_own() {
        let values = [("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")];
        let found = launch(&values).unwrap();
        assert_eq!(found.device("cuda").unwrap(), DeviceName::Cuda(1));
        assert_eq!(found.device("cuda:0").unwrap(), DeviceName::Cuda(0));
        assert_eq!(found.device("cpu").unwrap(), DeviceName::Cpu);
        let alone = Launch::default();
        assert_eq!(alone.device("cuda").unwrap(), DeviceName::Cuda(0));
        assert!(alone.device("gpu").is_err());
    }

    #[test]
    fn half_a_launch_is_refused() {
        let refused = |values: &[(&str, &str)]| launch(values).unwrap_err().to_string();
        assert!(refused(&[("RANK", "0")]).contains("WORLD_SIZE"));
        assert!(refused(&[("RANK", "2"), ("WORLD_SIZE", "2")]).contains("RANK is 2"));
        assert!(refused(&[("RANK", "x"), ("WORLD_SIZE", "2")]).contains("RANK is not"));
    }
}
