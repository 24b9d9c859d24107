//! `m3w serve`

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::compute::Compute;
use crate::serve::serve;
use crate::trained::TrainedModel;

/// Answer questions over HTTP, in the form of OpenAI's chat completions
///
/// Only this machine is answered, unless --host names another address. The page at / is for trying
/// prompts.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Directory of the training run or the imported model
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 for one that is free
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    #[command(flatten)]
    compute: Compute,
}

impl Serve {
    pub(super) fn run(self) -> Result<()> {
        crate::model::keep_freed_memory();
        let trained = TrainedModel::load_as(&self.checkpoint, &self.compute.running())?;
        if !self.host.is_loopback() {
            tracing::warn!("whoever reaches {} may ask, without a password", self.host);
        }
        let name = self.checkpoint.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let stop = super::stop_on_interrupt()?;
        let address = SocketAddr::new(self.host, self.port);
        let ready = |address| {
            let mut out = std::io::stdout();
            let _ = writeln!(out, "http://{address}/").and_then(|()| out.flush());
        };
        serve(trained, &name, address, ready, stop)
    }
}
