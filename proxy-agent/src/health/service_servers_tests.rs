//! Health checks of Services, asked over HTTP.

use std::{
    net::TcpListener as StdListener,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use super::{Addresses, Check, Wanted, run};
use crate::{
    health::Health,
    metrics::Metrics,
    model::{Family, NamespacedName},
    source::channel,
};

fn check(family: Family, port: u16, local_endpoints: usize) -> Check {
    Check { service: NamespacedName::new("shop", "web"), family, port, local_endpoints }
}

fn health() -> Health {
    let health = Health::new(channel(1).1.waiting(), Duration::from_secs(60));
    health.in_step(true, SystemTime::now());
    health
}

/// A port that is free on all addresses, or was a moment ago.
fn free_port() -> u16 {
    StdListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

/// What is answered at `address`, as text; nobody may take long to listen.
async fn ask(address: &str) -> String {
    for _ in 0..200 {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            return text;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody listens at {address}");
}

#[tokio::test]
async fn a_load_balancer_is_told_how_many_endpoints_are_here() {
    let (port, health) = (free_port(), health());
    let checks = vec![check(Family::V4, port, 2), check(Family::V6, port, 1)];
    let (wanted, receiver) = watch::channel(Wanted { checks, addresses: Addresses::All });
    tokio::spawn(run(receiver, health.clone(), Metrics::new()));

    let answer = ask(&format!("127.0.0.1:{port}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("x-load-balancing-endpoint-weight: 2\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    let body: serde_json::Value =
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let expected = serde_json::json!({
        "service": {"namespace": "shop", "name": "web"},
        "localEndpoints": 2,
        "serviceProxyHealthy": true,
    });
    assert_eq!(body, expected);
    let answer = ask(&format!("[::1]:{port}")).await;
    assert!(answer.contains("\"localEndpoints\": 1"), "{answer}");

    // Draining nodes answer 503, and so do agents that lag.
    wanted.send_modify(|wanted| wanted.checks = vec![check(Family::V4, port, 0)]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = ask(&format!("127.0.0.1:{port}")).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("weight: 0\r\n"), "{answer}");
    wanted.send_modify(|wanted| wanted.checks = vec![check(Family::V4, port, 3)]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    health.taken(std::time::Instant::now() - Duration::from_secs(100));
    let answer = ask(&format!("127.0.0.1:{port}")).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"serviceProxyHealthy\": false"), "{answer}");
}

#[tokio::test]
async fn a_check_that_is_gone_leaves_no_socket_and_one_that_moves_is_found() {
    let (port, other) = (free_port(), free_port());
    let checks = vec![check(Family::V4, port, 1)];
    let addresses = Addresses::These(vec!["127.0.0.1".parse().unwrap()]);
    let (wanted, receiver) = watch::channel(Wanted { checks, addresses });
    tokio::spawn(run(receiver, health(), Metrics::new()));
    ask(&format!("127.0.0.1:{port}")).await;
    assert!(TcpStream::connect(format!("127.0.0.2:{port}")).await.is_err());

    wanted.send_modify(|wanted| wanted.checks[0].port = other);
    ask(&format!("127.0.0.1:{other}")).await;
    assert!(TcpStream::connect(format!("127.0.0.1:{port}")).await.is_err());
    wanted.send_modify(|wanted| wanted.checks.clear());
    for _ in 0..100 {
        if TcpStream::connect(format!("127.0.0.1:{other}")).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the port is still open");
}

#[tokio::test]
async fn a_taken_port_hurts_no_other_check() {
    let taken = StdListener::bind("0.0.0.0:0").unwrap();
    let (port, other) = (taken.local_addr().unwrap().port(), free_port());
    let mine = NamespacedName::new("shop", "other");
    let good = Check { service: mine, ..check(Family::V4, other, 1) };
    let checks = vec![check(Family::V4, port, 1), good];
    let (_wanted, receiver) = watch::channel(Wanted { checks, addresses: Addresses::All });
    tokio::spawn(run(receiver, health(), Metrics::new()));
    ask(&format!("127.0.0.1:{other}")).await;
    drop(taken);
    let answer = ask(&format!("127.0.0.1:{port}")).await;
    assert!(answer.contains("\"name\": \"web\""), "{answer}");
}
