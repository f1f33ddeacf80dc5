//! Push devices over HTTP.

use chrono::{DateTime, Utc};
use keryu_common::config::Config;
use keryu_common::device::{self, Device};
use keryu_common::{Context, idempotency};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::idempotency::Idempotent;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Created, Gone, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "device_register",
        security: Security::Bearer,
        refusals: &[device::TOO_MANY, idempotency::MISMATCH, idempotency::LOST],
    },
    Note { operation: "device_list", security: Security::Bearer, refusals: &[] },
    Note {
        operation: "device_deactivate",
        security: Security::Bearer,
        refusals: &[device::NOT_FOUND, NOT_FOUND],
    },
];

/// What kind of device.
#[derive(Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum DeviceTypeIn {
    /// Android.
    Android,
    /// iPhone, iPad.
    Ios,
    /// A browser.
    Web,
}

impl DeviceTypeIn {
    fn name(&self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Web => "web",
        }
    }
}

/// A device that wants push messages.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeviceIn {
    /// The app's own name for the device; one record for each.
    #[oai(validator(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f]+$"))]
    device_id: String,
    /// From Firebase Cloud Messaging.
    #[oai(validator(min_length = 1, max_length = 4096, pattern = "^[!-~]+$"))]
    fcm_token: String,
    /// What kind of device.
    device_type: DeviceTypeIn,
    /// For a person.
    #[oai(validator(max_length = 100, pattern = r"^[^\x00-\x1f\x7f]*$"))]
    device_name: Option<String>,
    /// Of the app.
    #[oai(validator(max_length = 50, pattern = r"^[^\x00-\x1f\x7f]*$"))]
    app_version: Option<String>,
    /// Of the system.
    #[oai(validator(max_length = 50, pattern = r"^[^\x00-\x1f\x7f]*$"))]
    os_version: Option<String>,
}

impl Example for DeviceIn {
    fn example() -> Self {
        Self {
            device_id: "b3f1c0de".to_owned(),
            fcm_token: "dQw4w9WgXcQ:APA91bH…".chars().filter(char::is_ascii).collect(),
            device_type: DeviceTypeIn::Android,
            device_name: Some("Pixel 9".to_owned()),
            app_version: Some("3.2.1".to_owned()),
            os_version: Some("16".to_owned()),
        }
    }
}

impl Input for DeviceIn {
    type Ask = device::Ask;
    fn ask(self, _: &Config) -> Option<device::Ask> {
        Some(device::Ask {
            device_id: self.device_id,
            fcm_token: self.fcm_token,
            device_type: self.device_type.name().to_owned(),
            device_name: self.device_name.unwrap_or_default(),
            app_version: self.app_version.unwrap_or_default(),
            os_version: self.os_version.unwrap_or_default(),
        })
    }
}

/// A device. Its token is not told.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DeviceOut {
    /// Which.
    id: Uuid,
    /// The app's own name for it.
    device_id: String,
    /// `android`, `ios` or `web`.
    device_type: String,
    /// For a person.
    device_name: String,
    /// Of the app.
    app_version: String,
    /// Of the system.
    os_version: String,
    /// Whether it gets messages.
    is_active: bool,
    /// When it was first registered.
    created_at: DateTime<Utc>,
    /// When it was last registered.
    last_used: DateTime<Utc>,
}

impl From<Device> for DeviceOut {
    fn from(device: Device) -> Self {
        Self {
            id: device.id,
            device_id: device.device_id,
            device_type: device.device_type,
            device_name: device.device_name,
            app_version: device.app_version,
            os_version: device.os_version,
            is_active: device.is_active,
            created_at: device.created_at,
            last_used: device.last_used,
        }
    }
}

impl Example for DeviceOut {
    fn example() -> Self {
        let at = DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default();
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6174),
            device_id: "b3f1c0de".to_owned(),
            device_type: "android".to_owned(),
            device_name: "Pixel 9".to_owned(),
            app_version: "3.2.1".to_owned(),
            os_version: "16".to_owned(),
            is_active: true,
            created_at: at,
            last_used: at,
        }
    }
}

/// The devices of somebody.
#[derive(Debug, Object)]
#[oai(example)]
pub struct DevicesOut {
    /// The last used first.
    items: Vec<DeviceOut>,
}

impl Example for DevicesOut {
    fn example() -> Self {
        Self { items: vec![DeviceOut::example()] }
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Devices;

#[OpenApi(prefix_path = "/api/auth", tag = "Tag::Account")]
impl Devices {
    /// Register a device for push messages
    ///
    /// Or tell what has changed of it. A push token belongs to one person: whoever registers it has it.
    #[oai(path = "/device", method = "post", operation_id = "device_register")]
    async fn register(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<DeviceIn>,
    ) -> Answer<Created<DeviceOut>> {
        let key = key.bind_as(&ctx.config, &person, "device_register", &body.raw)?;
        Ok(Created(device::register(&ctx, &from, &person, body.ask, key.as_ref()).await?.into()))
    }

    /// List one's devices
    #[oai(path = "/devices", method = "get", operation_id = "device_list")]
    async fn list(&self, ctx: Data<&Context>, person: Signed) -> Answer<Json<DevicesOut>> {
        let devices = device::list(&ctx, person.user_id()).await?;
        Ok(Json(DevicesOut { items: devices.into_iter().map(DeviceOut::from).collect() }))
    }

    /// Switch a device off
    #[oai(path = "/devices/:id", method = "delete", operation_id = "device_deactivate")]
    async fn deactivate(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// From the list.
        id: Path<Uuid>,
    ) -> Answer<Gone> {
        device::deactivate(&ctx, &from, &person, id.0).await?;
        Ok(Gone)
    }
}
