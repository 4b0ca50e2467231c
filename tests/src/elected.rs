//! An elected committee of real processes: it grows from its founder, survives the founder's absence,
//! and its chain is verified by whoever joined late.

use super::program::{Running, folder_with_text, run, text};

#[test]
fn a_founder_alone_becomes_four_and_three_go_on_without_it() {
    let (folder, data) = folder_with_text();
    let dir = |name: &str| folder.path().join(name);
    let founder = dir("founder");
    let mut new = Running::start([
        "new",
        "plays",
        "--dir",
        text(&founder),
        "--data",
        text(&data),
        "--period",
        "2",
        "--batch",
        "1",
        "--listen",
        "127.0.0.1:0",
        "--threads",
        "1",
    ]);
    let invitation = new.event("founded")["invitation"].as_str().unwrap().to_owned();
    let mut others: Vec<Running> = ["a", "b", "c"]
        .map(|name| {
            let peer = dir(name);
            let join = ["join", &invitation, "--dir", text(&peer), "--listen", "127.0.0.1:0"];
            Running::start(join.into_iter().chain(["--threads", "1", "--stand"]))
        })
        .into();
    let grown = new.event("seats");
    assert_eq!((&grown["seats"], &grown["seated"]), (&4.into(), &true.into()), "{grown}");
    for other in &mut others {
        assert_eq!(other.event("seats")["seated"], true);
    }
    let height = grown["height"].as_u64().unwrap();
    new.signal(libc::SIGKILL);
    others[0].until("ten heights without the founder", |line| {
        line["event"] == "block" && line["height"].as_u64() > Some(height + 10)
    });
    for other in &mut others {
        other.signal(libc::SIGINT);
        assert_eq!(other.wait(), Some(0));
    }
    let verified = run(["verify", text(&dir("b")), "--json"]).object();
    assert_eq!(verified["event"], "verified", "{verified}");
}
