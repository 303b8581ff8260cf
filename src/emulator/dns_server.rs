//! The DNS port: UDP and TCP on one number.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{Edns, Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::Record;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::EmulatorError;
use super::dns_answer::{self, DnsAnswer};
use super::handle::Control;
use super::server::lock;

/// A TCP connection without a question is closed after this time.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// How many answers of a TCP connection may wait.
const TCP_ANSWERS: usize = 32;
/// How often a free port is sought that is free for UDP and for TCP.
const PORT_ATTEMPTS: usize = 16;
/// The size of UDP answers that avoids fragments.
const UDP_PAYLOAD: u16 = 1_232;

/// Opens UDP and TCP on one port.
pub(super) async fn bind(address: SocketAddr) -> Result<(UdpSocket, TcpListener), EmulatorError> {
    let failed = |reason| EmulatorError::Bind { address, purpose: "DNS", reason };
    let mut attempt = 1;
    loop {
        let udp = UdpSocket::bind(address).await.map_err(failed)?;
        let taken = udp.local_addr().map_err(failed)?;
        match TcpListener::bind(taken).await {
            Ok(tcp) => return Ok((udp, tcp)),
            // The number was free for UDP only; another one is tried when any will do.
            Err(_) if address.port() == 0 && attempt < PORT_ATTEMPTS => attempt += 1,
            Err(source) => return Err(failed(source)),
        }
    }
}

/// Answers until the token is cancelled.
pub(super) async fn serve(
    udp: UdpSocket,
    tcp: TcpListener,
    control: Control,
    shutdown: CancellationToken,
) {
    let mut server = Server::new(Answerer { control });
    server.register_socket(udp);
    server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS);
    shutdown.cancelled().await;
    if let Err(error) = server.shutdown_gracefully().await {
        tracing::debug!(%error, "the DNS port ended with an error");
    }
}

struct Answerer {
    control: Control,
}

#[async_trait]
impl RequestHandler for Answerer {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let found = match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => dns_answer::answer(
                &mut lock(&self.control.world),
                info.query.name(),
                info.query.query_type(),
            ),
            Ok(_) => DnsAnswer::failure(ResponseCode::NotImp),
            Err(_) => DnsAnswer::failure(ResponseCode::FormErr),
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = found.authoritative;
        metadata.response_code = found.code;
        let mut edns = Edns::new();
        edns.set_max_payload(request.max_payload().clamp(512, UDP_PAYLOAD)).set_version(0);
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            builder.edns(&edns);
        }
        let none = std::iter::empty::<&Record>();
        let (answers, authority) = (found.answers.iter(), found.authority.iter());
        let response = builder.build(metadata, answers, authority, none, found.additional.iter());
        match out.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer could not be sent");
                let mut metadata =
                    Metadata::new(request.metadata.id, MessageType::Response, OpCode::Query);
                metadata.response_code = ResponseCode::ServFail;
                ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
            }
        }
    }
}
