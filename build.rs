//! Compiles the protobuf definitions with protox, so that no `protoc` has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["zonefold/v1/federation.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::wire::codec::Codec")
        .compile_fds(files)?;
    Ok(())
}
