//! The generated protobuf code, the way from it to the core's types and back, and HTTP as every process serves it.

pub mod codec;
pub mod convert;
pub mod http;

/// Package `zonefold.v1`.
#[expect(
    clippy::all,
    clippy::allow_attributes,
    reason = "generated; the meaning of each message stands in the .proto file"
)]
pub mod v1 {
    tonic::include_proto!("zonefold.v1");
}
