//! Accept queues that are full.

use rustix::net::listen;

use super::{Reports, number};
use crate::{
    net::{Conn, Listener, begin_connect, bound},
    ns::Netns,
    process::own_pid,
};

#[test]
fn a_full_accept_queue_is_shown_with_its_limit_overflows_and_drops() {
    let inside = Netns::new();
    let reports = Reports::start(&inside, &["-i", "200ms"]);
    inside.enter(|| {
        let idle = Listener::on("127.0.0.1:8081");
        let (fd, local) = bound("127.0.0.1:8080".parse().unwrap());
        listen(&fd, 1).unwrap();
        // The kernel takes one more than the backlog says.
        let waiting = [Conn::to(local), Conn::to(local)];
        let line = reports.until("a full queue", |line| {
            line["what"] == "listener" && line["lport"] == 8080 && line["full"] == true
        });
        assert_eq!(
            (number(&line, "queue"), number(&line, "queue_limit")),
            (2, 1)
        );
        assert_eq!(
            (&line["pid"], number(&line, "drops")),
            (&own_pid().into(), 0)
        );
        assert!(line["message"].as_str().unwrap().contains("is full"));
        let quiet = reports.namespace();
        assert_eq!(number(&quiet["since_start"], "listen_overflows"), 0);

        let (refused, _) = begin_connect(local);
        let line = reports.until("a drop", |line| {
            line["lport"] == 8080 && line["drops"].as_u64() > Some(0)
        });
        let space = reports.until("overflows", |line| {
            line["what"] == "namespace" && line["since_start"]["listen_overflows"] != 0
        });
        let since = &space["since_start"];
        assert!(number(since, "listen_drops") >= number(since, "listen_overflows"));
        assert!(number(since, "listen_overflows") >= 1, "{line}");

        let other = reports.until("the other", |line| {
            line["what"] == "listener" && line["lport"] == 8081
        });
        assert_eq!(
            (number(&other, "queue"), &other["full"]),
            (0, &false.into())
        );
        drop((idle, waiting, refused, fd));
    });
    reports.stop();
}
