//! Hosts that DNS could not hold.

use super::*;

#[test]
fn a_host_that_no_resolver_can_look_up_is_refused_when_it_arrives_and_still_read_where_it_is_stored() {
    let label = "a".repeat(63);
    let name = [&label[..], &label, &label, &label[..61]].join(".");
    for host in [
        "a..b".to_owned(),
        "a..".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        ".a.example".to_owned(),
        "a.example..".to_owned(),
        "a。。b".to_owned(),
        "a%2e%2eb".to_owned(),
        format!("{label}a.example"),
        format!("{name}a"),
    ] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:8080/x");
            assert_eq!(policy(&[]).check_url(&url), Err(TargetRefusal::HostName), "{url}");
            assert!(url.parse::<CallbackUrl>().is_ok(), "{url}");
        }
    }
    for host in ["a.example", "a.example.", "a", &format!("{label}.example"), &name] {
        let url = format!("http://{host}/x");
        assert!(policy(&[]).check_url(&url).is_ok(), "{url}");
    }
}
