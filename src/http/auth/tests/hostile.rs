//! The hostile tokens.

use super::*;
use aws_lc_rs::signature::{RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256};

const MALFORMED: &str = "the token is malformed";
const ALGORITHM: &str = "the token's algorithm is not accepted";
const SIGNATURE: &str = "the token's signature is wrong";
const TYPE: &str = "the token's type is not accepted";
const UNKNOWN_KEY: &str = "no key for the token";
const EXPIRED: &str = "the token has expired";
const EARLY: &str = "the token is not valid yet";
const OTHER_ISSUER: &str = "the token is of another issuer";
const OTHER_AUDIENCE: &str = "the token is for another audience";

/// What it is, the token, and the error that it must cause.
type Case = (String, String, String);

fn case(name: impl Into<String>, token: impl Into<String>, error: impl Into<String>) -> Case {
    (name.into(), token.into(), error.into())
}

fn good() -> String {
    signed(&claims().to_string())
}

fn broken_structure() -> Vec<Case> {
    let good = good();
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    // The last of 43 characters carries 4 bits and 2 that must be zero.
    let loose_bits = format!(
        "{}{}",
        &good[..good.len() - 1],
        char::from(good.as_bytes()[good.len() - 1] + 1)
    );
    let before_sub = |text: &str| {
        signed(
            &claims()
                .to_string()
                .replacen("\"sub\"", &format!("{text},\"sub\""), 1),
        )
    };
    let long = signed(&changed("pad", Some(json!("x".repeat(8 * 1024)))));
    let deep = format!("\"x\":{}{}", "[".repeat(70), "]".repeat(70));
    let not_utf8 = base64(b"{\"alg\":\"\xff\"}");
    let alg_twice = token(
        r#"{"alg":"HS256","alg":"none"}"#,
        &claims().to_string(),
        hs256(SECRET),
    );
    vec![
        case("one word", "abc", MALFORMED),
        case("two parts", format!("{header}.{payload}"), MALFORMED),
        case("only dots", "..", MALFORMED),
        case("four parts", format!("{good}.{signature}"), MALFORMED),
        case(
            "five parts",
            format!("{header}.{payload}.{header}.{payload}.{signature}"),
            MALFORMED,
        ),
        case("an empty header", format!(".{payload}.{signature}"), MALFORMED),
        case("cut by three bytes", &good[..good.len() - 3], SIGNATURE),
        case("cut by two characters", &good[..good.len() - 2], MALFORMED),
        case("cut in half", &good[..good.len() / 2], MALFORMED),
        case("no signature", format!("{header}.{payload}."), SIGNATURE),
        case("a padded signature", format!("{good}="), MALFORMED),
        case(
            "the standard alphabet",
            format!("{header}.{payload}.++//{}", &signature[4..]),
            MALFORMED,
        ),
        case(
            "a blank inside",
            format!("{header}. {payload}.{signature}"),
            MALFORMED,
        ),
        case("loose bits at the end", loose_bits, MALFORMED),
        case(
            "a header that is no JSON",
            format!("{}.{payload}.{signature}", base64(b"alg=HS256")),
            MALFORMED,
        ),
        case(
            "a header that is a list",
            format!("{}.{payload}.{signature}", base64(b"[]")),
            MALFORMED,
        ),
        case(
            "a header that is no UTF-8",
            format!("{not_utf8}.{payload}.{signature}"),
            MALFORMED,
        ),
        case("alg twice in the header", alg_twice, MALFORMED),
        case("claims that are no JSON", signed("sub=alice"), MALFORMED),
        case("claims that are a list", signed("[]"), MALFORMED),
        case(
            "claims with something behind",
            signed(&format!("{} {{}}", claims())),
            MALFORMED,
        ),
        case("sub twice", before_sub("\"sub\":\"root\""), MALFORMED),
        case("exp twice", before_sub("\"exp\":9999999999"), MALFORMED),
        case(
            "roles twice in disguise",
            before_sub("\"roles\":[],\"\\u0072oles\":[\"admin\"]"),
            MALFORMED,
        ),
        case("claims nested too deep", before_sub(&deep), MALFORMED),
        case(
            "U+0000 in the subject",
            signed(&changed("sub", Some(json!("alice\0root")))),
            MALFORMED,
        ),
        case("longer than 8 KiB", long, "the token is too long"),
    ]
}

fn wrong_algorithms() -> Vec<Case> {
    let claims = claims().to_string();
    let unsigned = |alg: &str| token(&format!(r#"{{"alg":{alg}}}"#), &claims, |_| Vec::new());
    let mut cases: Vec<Case> = [
        "\"none\"",
        "\"None\"",
        "\"NONE\"",
        "\"nOnE\"",
        "\"\"",
        "null",
        "0",
        "[\"HS256\"]",
    ]
    .into_iter()
    .map(|alg| case(format!("alg {alg}, unsigned"), unsigned(alg), ALGORITHM))
    .collect();
    let hs = |header: &str| token(header, &claims, hs256(SECRET));
    cases.extend([
        case("no alg", hs("{}"), ALGORITHM),
        case("alg in lower case", hs(r#"{"alg":"hs256"}"#), ALGORITHM),
        case("alg with a blank", hs(r#"{"alg":"HS256 "}"#), ALGORITHM),
        case("HS384", hs(r#"{"alg":"HS384"}"#), ALGORITHM),
        case("HS512", hs(r#"{"alg":"HS512"}"#), ALGORITHM),
        case(
            "RS256 signed with the secret",
            hs(r#"{"alg":"RS256","kid":"r"}"#),
            SIGNATURE,
        ),
        case("none with a good signature", hs(r#"{"alg":"none"}"#), ALGORITHM),
    ]);
    let rsa = |alg: &str, encoding| {
        let header = format!(r#"{{"alg":"{alg}","kid":"r"}}"#);
        token(&header, &claims, |message| KEYS.rsa_sign_as(encoding, message))
    };
    let es384 = token(r#"{"alg":"ES384","kid":"e"}"#, &claims, |message| {
        KEYS.ec_sign(message)
    });
    cases.extend([
        case("PS256", rsa("PS256", &RSA_PSS_SHA256), ALGORITHM),
        case("RS384", rsa("RS384", &RSA_PKCS1_SHA384), ALGORITHM),
        case("RS512", rsa("RS512", &RSA_PKCS1_SHA512), ALGORITHM),
        case("PS256 called RS256", rsa("RS256", &RSA_PSS_SHA256), SIGNATURE),
        case("RS512 called RS256", rsa("RS256", &RSA_PKCS1_SHA512), SIGNATURE),
        case("ES384", es384, ALGORITHM),
    ]);
    cases
}

/// Public keys and guesses used as the HS256 secret.
fn confused_secrets() -> Vec<Case> {
    let part = |jwk: Value, name: &str| jwk[name].as_str().unwrap().to_owned().into_bytes();
    let secrets = [
        ("the RSA modulus in base64url", part(KEYS.rsa_jwk("r"), "n")),
        ("the RSA key's JWK", KEYS.rsa_jwk("r").to_string().into_bytes()),
        ("the EC key's JWK", KEYS.ec_jwk("e").to_string().into_bytes()),
        ("the Ed25519 key's x", part(KEYS.ed_jwk("d"), "x")),
        ("nothing", Vec::new()),
        ("one byte", vec![0]),
        ("almost the secret", [&SECRET[..], b"!"].concat()),
    ];
    let mut cases = Vec::new();
    for (name, secret) in secrets {
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"r"}"#] {
            let token = token(header, &claims().to_string(), hs256(&secret));
            cases.push(case(format!("HS256 with {name}, {header}"), token, SIGNATURE));
        }
    }
    cases
}

fn confused_keys() -> Vec<Case> {
    let claims = claims().to_string();
    let mut cases = confused_secrets();
    for (kid, right) in [("r", "RS256"), ("e", "ES256"), ("d", "EdDSA")] {
        for alg in ["RS256", "ES256", "EdDSA"] {
            let header = format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#);
            let sign = |message: &[u8]| match alg {
                "RS256" => FOREIGN.rsa_sign(message),
                "ES256" => FOREIGN.ec_sign(message),
                _ => FOREIGN.ed_sign(message),
            };
            let error = if alg == right { SIGNATURE } else { ALGORITHM };
            cases.push(case(
                format!("a foreign key as {alg} {kid}"),
                token(&header, &claims, sign),
                error,
            ));
        }
    }
    let es = |signature: Vec<u8>| {
        token(r#"{"alg":"ES256","kid":"e"}"#, &claims, move |_| {
            signature.clone()
        })
    };
    let ed = |signature: Vec<u8>| {
        token(r#"{"alg":"EdDSA","kid":"d"}"#, &claims, move |_| {
            signature.clone()
        })
    };
    let der = token(r#"{"alg":"ES256","kid":"e"}"#, &claims, |message| {
        let fixed = KEYS.ec_sign(message);
        let integer = |part: &[u8]| [&[2, 33, 0][..], part].concat();
        [&[0x30, 70][..], &integer(&fixed[..32]), &integer(&fixed[32..])].concat()
    });
    let rsa = |header: &str| token(header, &claims, |message| KEYS.rsa_sign(message));
    cases.extend([
        case("an ECDSA signature of zeros", es(vec![0; 64]), SIGNATURE),
        case("an empty ECDSA signature", es(Vec::new()), SIGNATURE),
        case("an ECDSA signature in DER", der, SIGNATURE),
        case("an Ed25519 signature of zeros", ed(vec![0; 64]), SIGNATURE),
        case("no kid and three keys", rsa(r#"{"alg":"RS256"}"#), UNKNOWN_KEY),
        case("an unknown kid", rsa(r#"{"alg":"RS256","kid":"R"}"#), UNKNOWN_KEY),
    ]);
    for kid in [
        "../../../../dev/null",
        "' OR '1'='1",
        "http://evil.example.org/jwks",
        "r|e",
        "r ",
    ] {
        let token = rsa(&json!({"alg": "RS256", "kid": kid}).to_string());
        cases.push(case(format!("kid {kid}"), token, UNKNOWN_KEY));
    }
    for kid in [
        json!(1),
        json!(null),
        json!(""),
        json!(["r"]),
        json!("r\n"),
        json!("r".repeat(300)),
    ] {
        let token = rsa(&json!({"alg": "RS256", "kid": kid}).to_string());
        cases.push(case(
            format!("kid {kid}"),
            token,
            "the token's kid is of the wrong type",
        ));
    }
    let (root, good) = (signed(&changed("sub", Some(json!("root")))), good());
    let (message, _) = root.rsplit_once('.').unwrap();
    let (_, signature) = good.rsplit_once('.').unwrap();
    cases.push(case(
        "the signature of another token",
        format!("{message}.{signature}"),
        SIGNATURE,
    ));
    cases
}

fn misleading_headers() -> Vec<Case> {
    let claims = claims().to_string();
    let with = |name: &str, value: &Value| {
        let mut header = json!({"alg": "HS256"});
        header[name] = value.clone();
        token(&header.to_string(), &claims, hs256(SECRET))
    };
    let forbidden = [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(null)),
        ("crit", json!(["b64"])),
        ("jku", json!("https://evil.example.org/jwks.json")),
        ("jwk", FOREIGN.rsa_jwk("r")),
        ("x5u", json!("https://evil.example.org/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ];
    let refusal = |name: &str| format!("the token's header must not have {name}");
    let mut cases: Vec<Case> = forbidden
        .into_iter()
        .map(|(name, value)| case(format!("{name} {value}"), with(name, &value), refusal(name)))
        .collect();
    let embedded = json!({"alg": "EdDSA", "kid": "d", "jwk": FOREIGN.ed_jwk("d")}).to_string();
    let embedded = token(&embedded, &claims, |message| FOREIGN.ed_sign(message));
    cases.push(case(
        "a key in the header that fits the signature",
        embedded,
        refusal("jwk"),
    ));
    for typ in ["JWE", "dpop+jwt", "logout+jwt", "secevent+jwt", ""] {
        cases.push(case(format!("typ {typ}"), with("typ", &json!(typ)), TYPE));
    }
    cases.push(case("typ 1", with("typ", &json!(1)), TYPE));
    cases.push(case("typ null", with("typ", &json!(null)), TYPE));
    cases
}

fn wrong_claims() -> Vec<Case> {
    let wrong_type = |name: &str| format!("the token's {name} is of the wrong type");
    let missing = |name: &str| format!("the token has no {name}");
    let claims: Vec<(&str, Option<Value>, String)> = vec![
        ("exp", None, missing("exp")),
        ("exp", Some(json!(null)), wrong_type("exp")),
        ("exp", Some(json!("9999999999")), wrong_type("exp")),
        ("exp", Some(json!(true)), wrong_type("exp")),
        ("exp", Some(json!([NOW + 60])), wrong_type("exp")),
        ("exp", Some(json!(-1)), wrong_type("exp")),
        ("exp", Some(json!(1e300)), wrong_type("exp")),
        ("exp", Some(json!(u64::MAX)), wrong_type("exp")),
        ("exp", Some(json!(0)), EXPIRED.into()),
        ("exp", Some(json!(NOW - 30)), EXPIRED.into()),
        ("exp", Some(json!(NOW as f64 - 30.001)), EXPIRED.into()),
        ("exp", Some(json!(NOW - 3600)), EXPIRED.into()),
        ("nbf", Some(json!(NOW + 31)), EARLY.into()),
        ("nbf", Some(json!(NOW as f64 + 30.001)), EARLY.into()),
        ("nbf", Some(json!("0")), wrong_type("nbf")),
        ("nbf", Some(json!(null)), wrong_type("nbf")),
        ("nbf", Some(json!(1e300)), wrong_type("nbf")),
        ("iat", Some(json!("now")), wrong_type("iat")),
        ("iss", None, OTHER_ISSUER.into()),
        (
            "iss",
            Some(json!("https://evil.example.org")),
            OTHER_ISSUER.into(),
        ),
        ("iss", Some(json!(format!("{ISSUER}/"))), OTHER_ISSUER.into()),
        ("iss", Some(json!(ISSUER.to_uppercase())), OTHER_ISSUER.into()),
        ("iss", Some(json!("")), OTHER_ISSUER.into()),
        ("iss", Some(json!([ISSUER])), wrong_type("iss")),
        (
            "iss",
            Some(json!([ISSUER, "https://evil.example.org"])),
            wrong_type("iss"),
        ),
        ("iss", Some(json!(null)), wrong_type("iss")),
        ("aud", None, OTHER_AUDIENCE.into()),
        ("aud", Some(json!("other")), OTHER_AUDIENCE.into()),
        (
            "aud",
            Some(json!("archive-ledger-staging")),
            OTHER_AUDIENCE.into(),
        ),
        ("aud", Some(json!(["other"])), OTHER_AUDIENCE.into()),
        ("aud", Some(json!([])), OTHER_AUDIENCE.into()),
        ("aud", Some(json!([AUDIENCE, 1])), wrong_type("aud")),
        ("aud", Some(json!({AUDIENCE: true})), wrong_type("aud")),
        ("aud", Some(json!(null)), wrong_type("aud")),
        ("sub", None, missing("sub")),
        ("sub", Some(json!("")), wrong_type("sub")),
        ("sub", Some(json!(1)), wrong_type("sub")),
        ("sub", Some(json!(null)), wrong_type("sub")),
        ("sub", Some(json!(["alice"])), wrong_type("sub")),
        ("sub", Some(json!("alice\nroot")), wrong_type("sub")),
        ("sub", Some(json!("a".repeat(257))), wrong_type("sub")),
        ("jti", Some(json!(1)), wrong_type("jti")),
        ("jti", Some(json!("")), wrong_type("jti")),
        ("roles", Some(json!("admin")), wrong_type("roles")),
        ("roles", Some(json!(["auditor", 1])), wrong_type("roles")),
        ("roles", Some(json!({"admin": true})), wrong_type("roles")),
        ("roles", Some(json!(null)), wrong_type("roles")),
        ("scope", Some(json!(["archived:purge"])), wrong_type("scope")),
        ("scope", Some(json!(null)), wrong_type("scope")),
        (
            "privileges",
            Some(json!("space_remove_archives")),
            wrong_type("privileges"),
        ),
        (
            "privileges",
            Some(json!([["space_remove_archives"]])),
            wrong_type("privileges"),
        ),
        ("spaces", Some(json!(["s1"])), wrong_type("spaces")),
        (
            "spaces",
            Some(json!({"s1": "space_remove_archives"})),
            wrong_type("spaces"),
        ),
        ("spaces", Some(json!({"s1": [1]})), wrong_type("spaces")),
        ("spaces", Some(json!({"s1": null})), wrong_type("spaces")),
    ];
    claims
        .into_iter()
        .map(|(name, value, error)| {
            let label = value
                .as_ref()
                .map_or_else(|| format!("no {name}"), |value| format!("{name} {value}"));
            case(label, signed(&changed(name, value)), error)
        })
        .collect()
}

#[tokio::test]
async fn no_hostile_token_is_accepted_and_each_fails_for_its_own_reason() {
    let authenticator = authenticator();
    let cases = [
        broken_structure(),
        wrong_algorithms(),
        confused_keys(),
        misleading_headers(),
        wrong_claims(),
    ]
    .concat();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    for (name, token, expected) in cases {
        match ask(&authenticator, &token).await {
            Ok(principal) => panic!("accepted: {name}: {principal:?}"),
            Err(error) => assert_eq!(error.to_string(), expected, "{name}"),
        }
    }
}

#[tokio::test]
async fn a_token_with_any_character_changed_is_refused() {
    let authenticator = authenticator();
    let good = good();
    for position in 0..good.len() {
        for other in [b'A', b'x', b'_', b'.'] {
            let mut bytes = good.clone().into_bytes();
            if bytes[position] == other {
                continue;
            }
            bytes[position] = other;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(ask(&authenticator, &changed).await.is_err(), "{changed}");
        }
    }
}

#[tokio::test]
async fn a_service_without_a_secret_or_without_a_key_set_refuses_the_other_kind() {
    let secret_only = with(config());
    let claims = claims().to_string();
    let rs = token(r#"{"alg":"RS256","kid":"r"}"#, &claims, |message| {
        KEYS.rsa_sign(message)
    });
    assert_eq!(ask(&secret_only, &rs).await.unwrap_err().to_string(), ALGORITHM);

    let directory = tempfile::tempdir().unwrap();
    let path = key_file(directory.path(), &[KEYS.rsa_jwk("r")]);
    let keys_only = with(AuthConfig {
        hs256_secrets: Vec::new(),
        issuers: vec![issuer(JwksSource::File(path))],
        ..config()
    });
    assert_eq!(ask(&keys_only, &good()).await.unwrap_err().to_string(), ALGORITHM);
    ask(&keys_only, &rs).await.unwrap();
    let no_kid = token(r#"{"alg":"RS256"}"#, &claims, |message| KEYS.rsa_sign(message));
    ask(&keys_only, &no_kid).await.unwrap();
    let other_alg = token(r#"{"alg":"EdDSA"}"#, &claims, |message| KEYS.ed_sign(message));
    assert_eq!(
        ask(&keys_only, &other_alg).await.unwrap_err().to_string(),
        ALGORITHM
    );
}
