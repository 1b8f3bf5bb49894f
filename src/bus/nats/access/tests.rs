use super::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

fn file(folder: &tempfile::TempDir, content: &str, mode: u32) -> PathBuf {
    let path = folder.path().join("file");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn credentials(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\r\n\r\n\
         ************************* IMPORTANT *************************\r\nNKEYs are sensitive.\r\n\r\n\
         -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
    )
}

#[test]
fn credentials_and_seeds_answer_what_a_server_asks() {
    let folder = tempfile::tempdir().unwrap();
    let user = KeyPair::new_user();
    let seed = user.seed().unwrap();
    let path = file(&folder, &credentials("a.b.c", &seed), 0o600);
    let answer = SignIn::Credentials(path).answer(b"nonce").unwrap();
    user.verify(b"nonce", &answer.signature.unwrap()).unwrap();
    assert_eq!((answer.jwt.as_deref(), answer.nkey), (Some("a.b.c"), None));
    for content in [
        format!("{seed}\n"),
        format!("# mine\n\n  {seed}  \n"),
        credentials("a.b.c", &seed),
    ] {
        let path = file(&folder, &content, 0o600);
        let answer = SignIn::Nkey(path).answer(b"nonce").unwrap();
        user.verify(b"nonce", &answer.signature.unwrap()).unwrap();
        assert_eq!((answer.jwt, answer.nkey), (None, Some(user.public_key())));
    }
}

#[test]
fn a_file_that_shows_nothing_is_refused_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let (user, account) = (
        KeyPair::new_user().seed().unwrap(),
        KeyPair::new_account().seed().unwrap(),
    );
    // Within the key: of the last letter only some bits count.
    let other = if &user[20..21] == "A" { "B" } else { "A" };
    let damaged = format!("{}{other}{}", &user[..20], &user[21..]);
    for (content, mode, says) in [
        (credentials("a.b.c", &user), 0o644, "chmod 600"),
        (String::new(), 0o600, "is empty"),
        (user.clone(), 0o600, "no user's JWT"),
        (credentials("", &user), 0o600, "no user's JWT"),
        (
            "-----BEGIN NATS USER JWT-----\na.b.c\n-----".to_owned(),
            0o600,
            "no seed",
        ),
        (credentials("a.b.c", &account), 0o600, "another key than a user's"),
        (credentials("a.b.c", "SUAHUNTER2"), 0o600, "damaged"),
    ] {
        let path = file(&folder, &content, mode);
        let error = SignIn::Credentials(path.clone())
            .read()
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains(says) && error.contains(path.to_str().unwrap()),
            "{error}"
        );
        assert!(!error.contains("SUA") && !error.contains("a.b.c"), "{error}");
    }
    for (content, says) in [
        (account.as_str(), "no seed of a user"),
        (damaged.as_str(), "damaged"),
        ("x", "no seed"),
    ] {
        let path = file(&folder, content, 0o600);
        let error = SignIn::Nkey(path).read().err().unwrap().to_string();
        assert!(error.contains(says) && !error.contains(&user[2..]), "{error}");
    }
    let nowhere = SignIn::Nkey(folder.path().join("nowhere")).read();
    assert!(matches!(
        nowhere,
        Err(AccessError::Secret {
            file: AccessFile::Nkey,
            ..
        })
    ));
}
