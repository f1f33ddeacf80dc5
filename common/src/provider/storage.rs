//! The object store: a folder of this machine, or a bucket of S3 or of a server that speaks its protocol,
//! addressed by path and signed by Signature Version 4. Objects are named by their keys alone; whose they are
//! is a slice's to know. Every call ends in time, and one that fails is refused with [`UNAVAILABLE`].

mod settings;

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use url::Url;

pub use settings::{Bucket, Settings};

use super::{install_crypto, is_loopback};
use crate::error::{Code, Error, Result};

/// The store gives no answer, or not the one it should.
pub const UNAVAILABLE: Code = Code {
    code: "storage.unavailable",
    status: 503,
    title: "Files cannot be reached just now",
    advice: "Send the request again after `Retry-After`, with the same `Idempotency-Key` if it had one.",
};
/// All refusals of the store.
pub const CODES: &[Code] = &[UNAVAILABLE];

/// How long one call may take: an object goes whole, a large one in parts.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a stream may stand still.
const STILL: Duration = Duration::from_secs(10);
/// When to come back.
const AGAIN: Duration = Duration::from_secs(5);
/// Bytes of one part of a large object: the least that S3 takes, but for the last.
const PART: usize = 5 * 1024 * 1024;
/// Parts of one object that are on their way at once.
const PARTS: usize = 2;

/// What an object holds, piece by piece.
pub type Stream = BoxStream<'static, Result<Bytes>>;

/// Keeps objects.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// Where objects are files of this machine.
    folder: Option<PathBuf>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the store's own would show its keys
        f.write_str("Storage")
    }
}

impl Storage {
    /// Opens nothing yet: a store that is down at start is waited for by those who need it.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn open(settings: &Settings) -> Result<Self> {
        Ok(match settings {
            Settings::Disk(folder) => {
                let prefix = Path::from_absolute_path(folder).map_err(Error::internal)?;
                // what was answered for is on the disk
                let store = PrefixStore::new(LocalFileSystem::new().with_fsync(true), prefix);
                Self { store: Arc::new(store), folder: Some(folder.clone()) }
            }
            Settings::Bucket(bucket) => Self { store: Arc::new(s3(bucket)?), folder: None },
        })
    }

    /// Keeps an object under a key, in place of what was there.
    ///
    /// # Errors
    /// `storage.unavailable`.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let key = path(key)?;
        within(PATIENCE, "put", self.store.put(&key, bytes.into())).await?;
        Ok(())
    }

    /// What an object holds; none: there is none.
    ///
    /// # Errors
    /// `storage.unavailable`.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let key = path(key)?;
        let read = async {
            match self.store.get(&key).await {
                Ok(object) => object.bytes().await.map(Some),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        within(PATIENCE, "get", read).await
    }

    /// What an object holds, piece by piece; none: there is none.
    ///
    /// # Errors
    /// `storage.unavailable`, also in the middle.
    pub async fn stream(&self, key: &str) -> Result<Option<Stream>> {
        let key = path(key)?;
        let open = async {
            match self.store.get(&key).await {
                Ok(object) => Ok(Some(object.into_stream())),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let Some(pieces) = within(PATIENCE, "stream", open).await? else { return Ok(None) };
        let timed = futures::stream::unfold(Some(pieces), |pieces| async {
            let mut pieces = pieces?;
            let next = async { pieces.next().await.transpose() };
            match within(STILL, "stream", next).await.transpose()? {
                Ok(piece) => Some((Ok(piece), Some(pieces))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Some(timed.boxed()))
    }

    /// Begins an object of any size. It is there once [`Writer::finish`] is through.
    ///
    /// # Errors
    /// `storage.unavailable`.
    pub async fn writer(&self, key: &str) -> Result<Writer> {
        let key = path(key)?;
        let upload = within(PATIENCE, "writer", self.store.put_multipart(&key)).await?;
        Ok(Writer(WriteMultipart::new_with_chunk_size(upload, PART)))
    }

    /// Deletes an object, and what was left of it by a process that died while it wrote. One that is not there is
    /// deleted.
    ///
    /// # Errors
    /// `storage.unavailable`.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let object = path(key)?;
        let gone = async {
            match self.store.delete(&object).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            match &self.folder {
                Some(folder) => delete_halves(folder.join(object.as_ref())).await,
                None => Ok(()),
            }
        };
        within(PATIENCE, "delete", gone).await
    }
}

/// An object that is being written, in parts. One that is dropped before [`Writer::finish`] is never seen; a
/// bucket should drop parts that nobody finished by a rule of its own, for the process may have died.
pub struct Writer(WriteMultipart);

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// The next bytes. Waits while too much is on its way.
    ///
    /// # Errors
    /// `storage.unavailable`: then abort.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        within(PATIENCE, "write", self.0.wait_for_capacity(PARTS)).await?;
        self.0.put(bytes);
        Ok(())
    }

    /// All was written: from now on the object is there.
    ///
    /// # Errors
    /// `storage.unavailable`.
    pub async fn finish(self) -> Result<()> {
        // what is on its way, the last part and the end
        within(3 * PATIENCE, "finish", self.0.finish()).await?;
        Ok(())
    }

    /// Forgets what was written.
    ///
    /// # Errors
    /// `storage.unavailable`.
    pub async fn abort(self) -> Result<()> {
        within(PATIENCE, "abort", self.0.abort()).await
    }
}

/// The folder's store writes to `<object>#1` first, or to the next number that is free, and gives it its name once
/// it is whole.
async fn delete_halves(object: PathBuf) -> object_store::Result<()> {
    for number in 1.. {
        let mut half = object.clone().into_os_string();
        half.push(format!("#{number}"));
        match tokio::fs::remove_file(half).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => {
                return Err(object_store::Error::Generic { store: "folder", source: error.into() });
            }
        }
    }
    Ok(())
}

fn path(key: &str) -> Result<Path> {
    Path::parse(key).map_err(Error::internal)
}

/// Waits for an answer, and makes a refusal of whatever else comes. Its reason is for the log alone: it may
/// name hosts and folders.
async fn within<T>(
    patience: Duration,
    what: &'static str,
    call: impl Future<Output = object_store::Result<T>>,
) -> Result<T> {
    let reason = match tokio::time::timeout(patience, call).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(what, reason, "the object store failed");
    Err(UNAVAILABLE.refuse_for("The object store does not answer. Try again shortly.", AGAIN).into())
}

fn s3(bucket: &Bucket) -> Result<impl ObjectStore + use<>> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        .with_access_key_id(&bucket.access_key)
        .with_secret_access_key(bucket.secret_key.reveal())
        .with_http_connector(Connector { endpoint: bucket.endpoint.clone() })
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(1),
                base: 2.0,
            },
            max_retries: 3,
            retry_timeout: PATIENCE / 2,
        });
    if let Some(endpoint) = &bucket.endpoint {
        let plain = endpoint.scheme() == "http";
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/')).with_allow_http(plain);
    }
    let store = builder.build().map_err(Error::internal)?;
    let prefix = Path::parse(&bucket.prefix).map_err(Error::internal)?;
    Ok(PrefixStore::new(store, prefix))
}

/// Calls buckets over a client of ours: the one TLS of the product, no redirects (they would carry signatures
/// elsewhere), this machine without a proxy, and no end in the middle of a long stream that goes on.
#[derive(Clone, Debug)]
struct Connector {
    endpoint: Option<Url>,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        install_crypto();
        let mut client = reqwest::Client::builder()
            .http1_only()
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(30))
            .connect_timeout(STILL / 2)
            .read_timeout(STILL)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("keryu/", env!("CARGO_PKG_VERSION")));
        if let Some(endpoint) = &self.endpoint {
            if endpoint.host_str().is_some_and(is_loopback) {
                client = client.no_proxy();
            }
            if endpoint.scheme() == "http" {
                client = client.tls_certs_only([]);
            }
        }
        let client = client
            .build()
            .map_err(|error| object_store::Error::Generic { store: "S3", source: error.into() })?;
        Ok(HttpClient::new(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> (PathBuf, Storage) {
        let path = std::env::temp_dir().join(format!("keryu storage-{}-{name}", std::process::id()));
        let storage = Storage::open(&Settings::Disk(path.clone())).expect("storage");
        (path, storage)
    }

    #[tokio::test]
    async fn a_folder_keeps_gives_and_deletes_objects() {
        let (path, storage) = folder("keeps");
        assert_eq!(storage.get("picture/ab/one").await.expect("get"), None, "before the folder is there");
        assert!(storage.stream("picture/ab/one").await.expect("stream").is_none());
        storage.delete("picture/ab/one").await.expect("what is not there is deleted");
        storage.put("picture/ab/one", Bytes::from_static(b"first")).await.expect("put");
        storage.put("picture/ab/one", Bytes::from_static(b"second")).await.expect("put again");
        let got = storage.get("picture/ab/one").await.expect("get");
        assert_eq!(got.as_deref(), Some(&b"second"[..]));
        storage.delete("picture/ab/one").await.expect("delete");
        assert_eq!(storage.get("picture/ab/one").await.expect("get"), None);
        std::fs::remove_dir_all(path).expect("folder");
    }

    #[tokio::test]
    async fn deleting_takes_along_what_a_dead_process_wrote_of_it() {
        let (path, storage) = folder("halves");
        storage.put("picture/ab/one", Bytes::from_static(b"one")).await.expect("put");
        storage.put("picture/ab/two", Bytes::from_static(b"two")).await.expect("put");
        // as the store names what it has not finished
        for half in ["one#1", "one#2", "never#1"] {
            std::fs::write(path.join("picture/ab").join(half), b"half").expect("half");
        }
        for key in ["picture/ab/one", "picture/ab/never"] {
            storage.delete(key).await.expect("delete");
        }
        let left = std::fs::read_dir(path.join("picture/ab")).expect("folder");
        let left: Vec<_> = left.map(|entry| entry.expect("entry").file_name()).collect();
        assert_eq!(left, ["two"]);
        std::fs::remove_dir_all(path).expect("folder");
    }

    #[tokio::test]
    async fn a_large_object_is_there_once_it_is_finished() {
        let (path, storage) = folder("large");
        let piece = Bytes::from(vec![7; 1 << 20]);
        let mut writer = storage.writer("export/one").await.expect("writer");
        for _ in 0..12 {
            writer.write(piece.clone()).await.expect("write");
        }
        assert_eq!(storage.get("export/one").await.expect("get"), None, "not before");
        writer.finish().await.expect("finish");
        let mut pieces = storage.stream("export/one").await.expect("stream").expect("there");
        let mut size = 0;
        while let Some(piece) = pieces.next().await {
            size += piece.expect("piece").len();
        }
        assert_eq!(size, 12 << 20);
        let mut aborted = storage.writer("export/two").await.expect("writer");
        aborted.write(piece).await.expect("write");
        aborted.abort().await.expect("abort");
        assert_eq!(storage.get("export/two").await.expect("get"), None);
        std::fs::remove_dir_all(path).expect("folder");
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_told_and_says_no_more() {
        let bucket = Bucket {
            name: "files".to_owned(),
            prefix: String::new(),
            endpoint: "http://127.0.0.1:9".parse().ok(),
            region: "us-east-1".to_owned(),
            access_key: "AKID".to_owned(),
            secret_key: crate::provider::Secret::new("hunter2"),
        };
        let storage = Storage::open(&Settings::Bucket(Box::new(bucket))).expect("storage");
        let Err(Error::Refusal(refusal)) = storage.get("a").await else { panic!("a refusal") };
        assert_eq!((refusal.code, refusal.status), ("storage.unavailable", 503));
        assert!(refusal.retry_after.is_some() && !refusal.detail.contains("127.0.0.1"));
        assert!(!format!("{storage:?}").contains("hunter2"));
    }
}
