//! An S3 server of others (`s3s-fs`) on loopback, signatures checked: a folder for its bucket.

use std::path::PathBuf;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use super::Folder;

const ACCESS: &str = "KERYUTEST";
const SECRET: &str = "a secret that nobody knows";

/// The server, and the bucket `files` in it.
pub struct Bucket {
    base: String,
    folder: Folder,
}

impl Bucket {
    /// Starts it.
    pub async fn start(name: &str) -> Self {
        let folder = Folder::new(&format!("bucket-{name}"));
        std::fs::create_dir_all(PathBuf::from(folder.path()).join("files")).expect("bucket");
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).expect("store"));
        service.set_auth(SimpleAuth::from_single(ACCESS, SECRET));
        let service = service.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(socket), service.clone());
                // one that the client ends is over
                tokio::spawn(async move { connection.await.unwrap_or_default() });
            }
        });
        Self { base, folder }
    }

    /// What the product is told of it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.settings_with(SECRET)
    }

    /// The same with another secret key.
    pub fn settings_with(&self, secret: &str) -> Vec<(&'static str, String)> {
        let url = format!("s3://files/some/where?endpoint={}&region=eu-west-1", self.base);
        vec![
            ("STORAGE_URL", url),
            ("STORAGE_ACCESS_KEY", ACCESS.to_owned()),
            ("STORAGE_SECRET_KEY", secret.to_owned()),
        ]
    }

    /// The files of all objects.
    pub fn objects(&self) -> Vec<PathBuf> {
        files(&PathBuf::from(self.folder.path()).join("files/some"))
    }
}

/// Every file in a folder and below.
pub fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found
}
