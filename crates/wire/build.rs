//! Generates the protobuf types from `proto/file_sync.proto`, without a `protoc` binary.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/file_sync.proto");
    let descriptors = protox::compile(["proto/file_sync.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
