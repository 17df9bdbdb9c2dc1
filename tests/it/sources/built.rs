//! Files that are built and checked in. A fresh build gives the same bytes.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs clang-19, which .ci/run installs before it runs this test"]
fn javascript_engine_is_built_from_its_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/functions/script/quickjs");
    let built = tempfile::NamedTempFile::new().unwrap();
    let ended = Command::new(folder.join("build.sh")).arg(built.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let (built, stored) = (fs::read(built.path()).unwrap(), fs::read(folder.join("quickjs.wasm")).unwrap());
    assert!(
        built == stored,
        "run src/functions/script/quickjs/build.sh: {} and {} bytes",
        built.len(),
        stored.len()
    );
}
