//! A server that does not outlive the test process, however that ends.
//!
//! A shell is the server's parent and waits on a pipe; when the pipe closes (dropped, or this process died) it kills its child and
//! removes its folder.
//! The child's number cannot belong to anybody else meanwhile, because its parent has not waited for it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

pub(super) struct Process {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Process {
    /// Starts a program in a folder; what it says goes to a file there.
    pub(super) fn start(folder: &Path, log: &str, program: &[&str]) -> std::io::Result<Self> {
        const SCRIPT: &str = "\"$@\" </dev/null & child=$!; cat >/dev/null; kill -9 $child 2>/dev/null; \
                              wait $child 2>/dev/null; rm -rf \"$CAIRN_SERVER_FOLDER\"";
        let output = File::create(folder.join(log))?;
        let errors = output.try_clone()?;
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .args(program)
            .current_dir(folder)
            .env("CAIRN_SERVER_FOLDER", folder)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        if self.pipe.take().is_some() {
            let _ = self.shell.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
