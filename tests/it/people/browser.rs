//! A browser as far as a sign-in needs one: it keeps cookies, follows redirects and fills in forms.

use http::{HeaderMap, Method, header};
use http_body_util::BodyExt as _;

#[derive(Clone)]
struct Cookie {
    name: String,
    value: String,
    path: String,
}

/// See the module's page.
#[derive(Clone, Default)]
pub struct Browser {
    cookies: Vec<Cookie>,
}

/// What a server answered.
pub struct Answer {
    pub url: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Where it sends the browser.
    pub fn location(&self) -> Option<String> {
        let to = self.headers.get(header::LOCATION)?.to_str().unwrap();
        Some(if to.starts_with('/') { format!("{}{to}", origin(&self.url)) } else { to.to_owned() })
    }

    /// The cookie that it sets, as it is written.
    pub fn sets(&self, name: &str) -> Option<String> {
        let all = self.headers.get_all(header::SET_COOKIE).iter();
        let mut found = all.map(|line| line.to_str().unwrap().to_owned());
        found.find(|line| line.starts_with(&format!("{name}=")))
    }
}

fn origin(url: &str) -> &str {
    let end = url.match_indices('/').nth(2).map_or(url.len(), |(end, _)| end);
    &url[..end]
}

fn path_of(url: &str) -> &str {
    let path = &url[origin(url).len()..];
    path.split(['?', '#']).next().unwrap()
}

impl Browser {
    /// The value of a cookie that it keeps.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|cookie| cookie.name == name).map(|cookie| cookie.value.as_str())
    }

    /// One request; cookies go along and are kept.
    pub async fn ask(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build_http::<String>();
        let sent: Vec<String> = self
            .cookies
            .iter()
            .filter(|cookie| path_of(url).starts_with(&cookie.path))
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        let mut request = http::Request::builder().method(method).uri(url);
        if !sent.is_empty() {
            request = request.header(header::COOKIE, sent.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_owned()).unwrap();
        let (head, body) = client
            .request(request)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error:?}"))
            .into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        for line in head.headers.get_all(header::SET_COOKIE) {
            self.keep(line.to_str().unwrap());
        }
        Answer {
            url: url.to_owned(),
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    fn keep(&mut self, line: &str) {
        let mut parts = line.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let attributes: Vec<(String, &str)> = parts
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(key, value)| (key.to_ascii_lowercase(), value))
            .collect();
        let find = |key: &str| attributes.iter().find(|(name, _)| name == key).map(|(_, of)| *of);
        let path = find("path").unwrap_or("/").to_owned();
        self.cookies.retain(|cookie| cookie.name != name || cookie.path != path);
        let is_gone = find("max-age") == Some("0")
            || find("expires").is_some_and(|expires| expires.contains("1970"));
        if !is_gone {
            self.cookies.push(Cookie { name: name.to_owned(), value: value.to_owned(), path });
        }
    }

    /// Goes to a page, but not to one of these.
    pub async fn go_until(&mut self, url: &str, stop: impl Fn(&str) -> bool) -> Answer {
        let mut answer = self.ask(Method::GET, url, &[], "").await;
        for _ in 0..12 {
            match answer.location() {
                Some(next) if !stop(&next) => answer = self.ask(Method::GET, &next, &[], "").await,
                _ => return answer,
            }
        }
        panic!("{url} leads round and round");
    }

    /// Signs in as somebody at the real provider, and agrees to what it asks, until a page is to be opened that is not its own.
    pub async fn sign_in(&mut self, url: &str, login: &str, stop: impl Fn(&str) -> bool) -> Answer {
        let mut answer = self.go_until(url, &stop).await;
        for _ in 0..4 {
            let form = if answer.body.contains("name=\"prompt\" value=\"login\"") {
                format!("prompt=login&login={login}&password=any")
            } else if answer.body.contains("name=\"prompt\" value=\"consent\"") {
                "prompt=consent".to_owned()
            } else {
                return answer;
            };
            let action = answer.body.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
            let action = match action.starts_with('/') {
                true => format!("{}{action}", origin(&answer.url)),
                false => action.to_owned(),
            };
            let form_type = [("content-type", "application/x-www-form-urlencoded")];
            let posted = self.ask(Method::POST, &action, &form_type, &form).await;
            let next = posted.location().unwrap_or_else(|| panic!("{}", posted.body));
            if stop(&next) {
                return posted;
            }
            answer = self.go_until(&next, &stop).await;
        }
        panic!("the provider asks again and again: {}", answer.body);
    }
}
