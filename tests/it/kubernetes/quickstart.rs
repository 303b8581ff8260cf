//! docs/quickstart-kubernetes.md, command by command, as a person with a cluster goes through it.
//!
//! A block of `sh` runs in a shell of its own, in a folder that has the files of the repository which the page names; a block that
//! starts something which keeps running stays. A block of `text` after it is what the last command is to show.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::support::api_server::{ApiServer, programs};
use crate::support::folder::TestFolder;
use crate::support::network::free_address;
use crate::support::process::{Process, clean};
use crate::support::wait::eventually;

const PAGE: &str = include_str!("../../../docs/quickstart-kubernetes.md");
/// The command whose result is built already when a test runs.
const BUILD: &str = "cargo build --locked\nexport PATH=\"$PWD/target/debug:$PATH\"\n";
/// The commands that keep running, by how they begin, and what each says when it is there.
const SERVERS: [(&str, &str); 3] = [
    ("zonefold emulator", "emulator started"),
    ("zonefold broker", "broker started"),
    ("zonefold agent --cluster", "agent started"),
];
/// The ports of the page. Another process of this machine may have them, so the walk takes others.
const PORTS: [u16; 6] = [4566, 4567, 5353, 7443, 7080, 7081];

/// A block of commands, and what it is to show.
#[derive(Debug)]
struct Step {
    commands: String,
    shown: Option<String>,
}

/// The steps of the page, in their order.
fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = vec![];
    let mut rest = PAGE;
    while let Some((before, block)) = rest.split_once("```") {
        let (language, block) = block.split_once('\n').unwrap();
        let (text, after) = block.split_once("```").unwrap();
        match language {
            "sh" => steps.push(Step { commands: text.to_owned(), shown: None }),
            "text" => {
                assert_eq!(before.trim(), "", "what is shown follows its commands at once");
                steps.last_mut().unwrap().shown = Some(text.to_owned());
            }
            other => panic!("a block of {other}"),
        }
        rest = after;
    }
    steps
}

struct Walk {
    folder: TestFolder,
    kubeconfig: PathBuf,
    ports: Vec<(String, String)>,
    servers: Vec<Process>,
}

impl Walk {
    fn new(api: &ApiServer) -> Self {
        let ports =
            PORTS.map(|port| (port.to_string(), free_address().port().to_string())).to_vec();
        let walk = Self {
            folder: TestFolder::new(),
            kubeconfig: api.kubeconfig.clone(),
            ports,
            servers: vec![],
        };
        for folder in ["examples/kubernetes", "deploy/kubernetes"] {
            let copy = walk.folder.folder(folder);
            for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
                .unwrap()
                .map(Result::unwrap)
            {
                let text = std::fs::read_to_string(file.path()).unwrap();
                std::fs::write(copy.join(file.file_name()), walk.with_other_ports(&text)).unwrap();
            }
        }
        walk
    }

    fn with_other_ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (page, mine)| {
            text.replace(&format!(":{page}"), &format!(":{mine}"))
                .replace(&format!("-p {page} "), &format!("-p {mine} "))
        })
    }

    /// The commands as a person types them: the ports that are not written are those that the programs take by themselves.
    fn shell(&self, commands: &str) -> Command {
        let mut shell = clean("bash", &self.folder.path(""));
        let zonefold = Path::new(env!("CARGO_BIN_EXE_zonefold")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        shell.env("PATH", format!("{}:{}:{path}", zonefold.display(), programs().display()));
        shell
            .env("KUBECONFIG", &self.kubeconfig)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .current_dir(self.folder.path(""));
        let port =
            |page: u16| &self.ports.iter().find(|(found, _)| *found == page.to_string()).unwrap().1;
        shell.env("ZONEFOLD_BROKER_GRPC", format!("http://127.0.0.1:{}", port(7443)));
        shell.env("ZONEFOLD_BROKER", format!("http://127.0.0.1:{}", port(7080)));
        shell.env("ZONEFOLD_AGENT", format!("http://127.0.0.1:{}", port(7081)));
        shell.env("ZONEFOLD_AGENT_LISTEN", format!("127.0.0.1:{}", port(7081)));
        shell.args(["-euo", "pipefail", "-c", &self.with_other_ports(commands)]);
        shell
    }

    async fn run(&self, commands: &str) -> Result<String, String> {
        let output =
            self.shell(commands).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let [said, complained] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{commands}{said}{complained}"))
        }
    }

    async fn step(&mut self, step: &Step) {
        let commands = step.commands.as_str();
        let last = commands.trim_end().lines().last().unwrap();
        if let Some((_, there)) = SERVERS.iter().find(|(begins, _)| last.starts_with(begins)) {
            // The shell becomes the server, so that what ends it reaches it.
            let commands = commands.replace(last, &format!("exec {last} --log-format json"));
            let mut server = Process::start(last, self.shell(&commands));
            server.says(there).await;
            self.servers.push(server);
            return;
        }
        let Some(wanted) = &step.shown else {
            self.run(commands).await.unwrap_or_else(|said| panic!("{said}"));
            return;
        };
        let (first, last) = commands.trim_end().rsplit_once('\n').unwrap_or(("", commands));
        self.run(first).await.unwrap_or_else(|said| panic!("{said}"));
        eventually(&format!("{last} shows {wanted}"), async || match self.run(last).await {
            Ok(said) if shows(&said, wanted) => Ok(()),
            Ok(said) | Err(said) => Err(said),
        })
        .await;
    }
}

/// Whether each of these lines stands in what was said, whatever the columns are and whatever stands where it has three dots.
fn shows(said: &str, wanted: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_in = |line: &str, wanted: &str| {
        let parts = wanted.split("...").try_fold(line, |rest, part| {
            rest.split_once(words(part).as_str()).map(|(_, rest)| rest)
        });
        parts.is_some()
    };
    wanted.lines().all(|wanted| said.lines().any(|line| is_in(&words(line), wanted)))
}

#[tokio::test]
async fn the_quickstart_works_as_it_is_written() {
    let steps = steps();
    assert_eq!(steps[0].commands, BUILD);
    let api = ApiServer::start().await;
    let mut walk = Walk::new(&api);
    let clean_up = steps.len() - 1;
    for (number, step) in steps.iter().enumerate().skip(1) {
        if number == clean_up {
            let deleted = "dig @127.0.0.1 -p 5353 +short web.dev.example.com";
            eventually("the name is gone", async || match walk.run(deleted).await {
                Ok(said) if said.is_empty() => Ok(()),
                Ok(said) | Err(said) => Err(said),
            })
            .await;
            for server in walk.servers.drain(..).rev() {
                server.stop().await;
            }
        }
        walk.step(step).await;
    }
    // Nothing of the walk is left behind.
    let left: Vec<_> = std::fs::read_dir(walk.folder.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| name == "examples" || name == "deploy" || name == ".kube"),
        "{left:?}"
    );
}
