//! A steward's session: a member dies, the founder stops and comes back, the member comes back.

use super::program::{Running, folder_with_text, run, text};

#[test]
fn a_founder_comes_back_beside_a_dead_member_on_the_same_port() {
    let (folder, data) = folder_with_text();
    let [founder, member] = ["founder", "member"].map(|name| folder.path().join(name));
    let data = text(&data);
    // No --listen: the port is drawn once and kept.
    let mut new = Running::start([
        "new",
        "home",
        "--dir",
        text(&founder),
        "--data",
        data,
        "--committee",
        "steward",
        "--period",
        "2",
        "--threads",
        "1",
    ]);
    let ports = |started: &serde_json::Value| -> std::collections::BTreeSet<String> {
        let addresses = started["addresses"].as_array().unwrap();
        addresses
            .iter()
            .map(|address| address.as_str().unwrap().split('/').nth(4).unwrap().to_owned())
            .collect()
    };
    let listens = ports(&new.event("started"));
    assert_eq!(listens.len(), 1, "one for QUIC and TCP: {listens:?}");
    let invitation = new.event("founded")["invitation"].as_str().unwrap().to_owned();
    let join = ["join", &invitation, "--dir", text(&member), "--threads", "1"];
    let mut joiner = Running::start(join);
    joiner.event("joined");
    let both = |line: &serde_json::Value| line["event"] == "block" && line["counted"] == 2;
    new.until("a block that counts both", both);

    let ask = |words: &[&str]| run(words.iter().copied().chain(["--dir", text(&founder)]));
    ask(&["leave"]).refused(1, &["1 other members", "--yes"]);
    ask(&["finish"]).refused(1, &["1 other members", "--yes"]);

    joiner.signal(libc::SIGKILL);
    new.event("block");
    new.signal(libc::SIGINT);
    assert_eq!(new.wait(), Some(0));
    ask(&["leave"]).refused(1, &["1 other members", "--yes"]);
    let height = new.events("block").last().unwrap()["height"].as_u64().unwrap();

    // The member is still one for 8 slots, and their deadlines follow what was certified before.
    let mut again = Running::start(["run", "--dir", text(&founder)]);
    assert_eq!(ports(&again.event("started")), listens);
    again.until("two later blocks", |line| {
        line["event"] == "block" && line["height"].as_u64().unwrap() > height + 1
    });
    let mut back = Running::start(["run", "--dir", text(&member)]);
    again.until("a block that counts both again", both);

    ask(&["finish", "--yes"]).done();
    assert_eq!(again.wait(), Some(0));
    assert_eq!(again.events("ended").last().unwrap()["ending"], "left");
    back.signal(libc::SIGTERM);
    assert_eq!(back.wait(), Some(0));
}
