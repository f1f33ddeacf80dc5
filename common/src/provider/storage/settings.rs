//! `STORAGE_URL`: where objects are kept.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::provider::{Secret, http};

/// The region that is asked for where the URL names none, as S3 itself does.
const REGION: &str = "us-east-1";

/// Where objects are kept.
#[derive(Clone)]
pub enum Settings {
    /// In a folder of this machine, made when the first object comes.
    Disk(PathBuf),
    /// In a bucket of S3, or of a server that speaks its protocol.
    Bucket(Box<Bucket>),
}

/// A bucket.
#[derive(Clone)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What leads every key.
    pub prefix: String,
    /// Without it: Amazon's.
    pub endpoint: Option<Url>,
    /// As the signature names it.
    pub region: String,
    /// `STORAGE_ACCESS_KEY`.
    pub access_key: String,
    /// `STORAGE_SECRET_KEY`.
    pub secret_key: Secret,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(path) => f.debug_tuple("Disk").field(path).finish(),
            Self::Bucket(bucket) => f.debug_tuple("Bucket").field(&bucket.name).finish(),
        }
    }
}

impl Settings {
    /// Reads `file:///folder` or `s3://bucket/prefix?endpoint=…&region=…`. A bucket wants both keys.
    ///
    /// # Errors
    /// Every fault, for the operator; without what the URL may hold of secrets.
    pub fn parse(url: &str, keys: (Option<String>, Option<String>)) -> Result<Self, Vec<String>> {
        let wanted = "STORAGE_URL: neither file:///folder nor s3://bucket/prefix?endpoint=…&region=…";
        let url: Url = url.parse().map_err(|_| vec![wanted.to_owned()])?;
        match url.scheme() {
            "file" => match url.to_file_path() {
                Ok(path) if path.parent().is_some() && url.query().is_none() => Ok(Self::Disk(path)),
                _ => Err(vec!["STORAGE_URL: not a folder of this machine (file:///folder)".to_owned()]),
            },
            "s3" => bucket(&url, keys).map(|bucket| Self::Bucket(Box::new(bucket))),
            _ => Err(vec![wanted.to_owned()]),
        }
    }
}

fn bucket(url: &Url, (access, secret): (Option<String>, Option<String>)) -> Result<Bucket, Vec<String>> {
    let mut faults = Vec::new();
    let name = url.host_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        faults.push("STORAGE_URL: no bucket is named (s3://bucket)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        let fault = "STORAGE_URL: keys do not belong there but in STORAGE_ACCESS_KEY and STORAGE_SECRET_KEY";
        faults.push(fault.to_owned());
    }
    let (mut endpoint, mut region) = (None, REGION.to_owned());
    for (field, value) in url.query_pairs() {
        match &*field {
            "endpoint" => match http::address(&value) {
                Ok(address) => endpoint = Some(address),
                Err(fault) => faults.push(format!("STORAGE_URL: endpoint: {fault}")),
            },
            "region" if !value.is_empty() => region = value.into_owned(),
            _ => faults.push(format!("STORAGE_URL: {field} is neither endpoint nor region, or is empty")),
        }
    }
    for (setting, given) in [("STORAGE_ACCESS_KEY", &access), ("STORAGE_SECRET_KEY", &secret)] {
        if given.is_none() {
            faults.push(format!("{setting} is not set, but STORAGE_URL names a bucket"));
        }
    }
    match (access, secret) {
        (Some(access_key), Some(secret)) if faults.is_empty() => Ok(Bucket {
            name,
            prefix: url.path().trim_matches('/').to_owned(),
            endpoint,
            region,
            access_key,
            secret_key: Secret::new(secret),
        }),
        _ => Err(faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (Option<String>, Option<String>) {
        (Some("AKID".to_owned()), Some("hunter2".to_owned()))
    }

    #[test]
    fn a_folder_or_a_bucket_is_read() {
        let folder = Settings::parse("file:///var/lib/keryu%20files", (None, None)).expect("folder");
        assert!(matches!(folder, Settings::Disk(path) if path == PathBuf::from("/var/lib/keryu files")));
        let url = "s3://files/a/b/?endpoint=http://minio:9000&region=eu-west-1";
        let Settings::Bucket(bucket) = Settings::parse(url, keys()).expect("bucket") else { panic!("{url}") };
        assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("files", "a/b"));
        assert_eq!((bucket.region.as_str(), bucket.endpoint.is_some()), ("eu-west-1", true));
        let Settings::Bucket(bucket) = Settings::parse("s3://files", keys()).expect("bucket") else {
            panic!()
        };
        assert_eq!((bucket.prefix.as_str(), bucket.region.as_str()), ("", REGION));
        assert!(!format!("{:?}", Settings::Bucket(bucket)).contains("hunter2"));
    }

    #[test]
    fn what_cannot_be_a_store_is_told() {
        let refused =
            ["", "files", "file://", "file:///", "file://host/x", "https://files", "s3:///x", "file:///a?b"];
        for url in refused {
            assert!(Settings::parse(url, keys()).is_err(), "{url}");
        }
        let faults =
            Settings::parse("s3://files?endpoint=ftp://x&colour=red", (None, None)).expect_err("faults");
        for wanted in ["endpoint", "colour", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY"] {
            assert!(faults.iter().any(|fault| fault.contains(wanted)), "{wanted} in {faults:?}");
        }
        let faults = Settings::parse("s3://me:hunter2@files", keys()).expect_err("faults");
        assert!(!faults.concat().contains("hunter2"), "{faults:?}");
    }
}
