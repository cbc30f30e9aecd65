//! A pair of layer-3 devices in two namespaces, and the thread that carries packets between them.

use std::{
    fs::File,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    thread::{self, JoinHandle},
};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};

use crate::{NetNs, ioctl::make_tun};

const PACKET_MAX: usize = 1 << 16;

/// A running relay; the devices go with it.
pub(super) struct Relay {
    /// Closed to end the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Makes the device `first_name` in `first` and `second_name` in `second`, and carries what
    /// leaves by one to the other.
    pub(super) fn start(
        first: &NetNs,
        first_name: &str,
        second: &NetNs,
        second_name: &str,
    ) -> Result<Self> {
        let ends = [make_tun(first, first_name)?, make_tun(second, second_name)?];
        let (stopped, stop) = io::pipe()?;
        let thread = thread::spawn(move || {
            // What can't be carried is lost, as on any wire.
            let _ = carry(&ends, &stopped);
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

fn carry([first, second]: &[File; 2], stopped: &PipeReader) -> io::Result<()> {
    let mut packet = vec![0; PACKET_MAX];
    loop {
        let mut ready = [
            PollFd::new(first, PollFlags::IN),
            PollFd::new(second, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        poll(&mut ready, None)?;
        if !ready[2].revents().is_empty() {
            return Ok(());
        }
        for (mut from, mut to) in [(first, second), (second, first)] {
            while let Ok(length) = from.read(&mut packet) {
                // A device that is down, or a full queue, loses the packet.
                let _ = to.write(&packet[..length]);
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
