//! What every request goes through before its route: SECURITY R60 and row 84.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use super::app::App;
use super::problem::Problem;

/// Longest body of a request, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// The names this server answers to. A browser that was led here under another name does not get through (DNS rebinding).
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    names: Vec<String>,
    /// The address it is bound to, unless that is any.
    bound: Option<IpAddr>,
}

impl Hosts {
    pub(super) fn new(names: &[String], bound: Option<IpAddr>) -> Self {
        let names = names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        Self { names, bound: bound.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_canonical()) }
    }

    /// Whether an authority, `host` or `host:port`, names this server. Any port: it may be forwarded.
    fn take(&self, authority: &str) -> bool {
        let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((v6, port)) if port.is_empty() || is_port(port) => {
                return v6.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| self.takes_ip(ip.into()));
            }
            Some(_) => return false,
            None => match authority.split_once(':') {
                Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && port.len() <= 5 => host,
                Some(_) => return false,
                None => authority,
            },
        };
        if let Ok(ip) = host.parse::<std::net::Ipv4Addr>() {
            return self.takes_ip(ip.into());
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        host == "localhost" || self.names.contains(&host)
    }

    fn takes_ip(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback() || self.bound == Some(ip) || self.names.contains(&ip.to_string())
    }
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Checks what is around a request, reads its body within bounds, and gives its route so much time and no more.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match check(&app, request.headers(), request.uri()) {
        Ok(()) => run(&app, request, next).await,
        Err(problem) => problem.into_response(),
    };
    app.counters.answered(response.status().as_u16());
    harden(response.headers_mut());
    response
}

async fn run(app: &App, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = match timeout(app.request_timeout, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return too_long().into_response(),
        Err(_) => {
            let detail = "the rest of the request did not come in time";
            let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "Too slow", detail);
            return problem.closing().into_response();
        }
    };
    let request = Request::from_parts(parts, Body::from(body));
    timeout(app.request_timeout, next.run(request))
        .await
        .unwrap_or_else(|_| Problem::unavailable("the answer took too long").into_response())
}

fn too_long() -> Problem {
    let detail = "a body has at most 64 KiB";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", "Too long", detail).closing()
}

fn check(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let host = only(headers, &header::HOST)
        .map_err(|()| Problem::bad_request("there is more than one Host").closing())?
        .ok_or_else(|| Problem::bad_request("there is no Host").closing())?;
    if uri.authority().is_some_and(|target| !target.as_str().eq_ignore_ascii_case(host)) {
        return Err(Problem::bad_request("the request names one server and its Host another").closing());
    }
    if !app.hosts.take(host) {
        let detail = "this server does not go by that Host; its operator can add names";
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong-host", "Wrong host", detail).closing());
    }
    let origin = only(headers, &header::ORIGIN).map_err(|()| foreign_origin())?;
    if origin.is_some_and(|origin| !same_origin(origin, host)) {
        return Err(foreign_origin());
    }
    // Bodies are small; whoever sends one knows its length. With both headers, two readers could see two requests (request smuggling).
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let detail = "send a Content-Length; Transfer-Encoding is not taken";
        return Err(Problem::bad_request(detail).closing());
    }
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        let detail = "bodies are not unpacked; send it as it is";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "packed", "Not unpacked", detail);
        return Err(problem.closing());
    }
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_long());
    }
    Ok(())
}

fn foreign_origin() -> Problem {
    let detail = "another site's page may not use this server";
    Problem::new(StatusCode::FORBIDDEN, "foreign-origin", "Foreign origin", detail)
}

/// The one value of a header, if it is there.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(());
    }
    first.to_str().map(Some).map_err(|_| ())
}

fn same_origin(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// What browsers are told with every answer. The page brings a policy of its own.
fn harden(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_84_only_names_of_this_server_are_taken() {
        let hosts =
            Hosts::new(&["Node.Example".into(), "192.0.2.7".into()], Some(IpAddr::from([203, 0, 113, 9])));
        for host in [
            "localhost",
            "localhost:7180",
            "LOCALHOST",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.3.2.1",
            "[::1]",
            "[::1]:7180",
            "node.example",
            "NODE.example.:443",
            "203.0.113.9",
            "192.0.2.7:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(hosts.take(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "203.0.113.10",
            "[2001:db8::1]",
            "localhost:",
            "localhost:80:80",
            "localhost:x",
            "[::1",
            "[::1]x",
            "user@localhost",
            "localhost:123456",
            "0.0.0.0",
            "127.1",
            "2130706433",
        ] {
            // An empty port is harmless, and the same server.
            assert_eq!(hosts.take(host), host == "localhost:", "{host}");
        }
    }
}
