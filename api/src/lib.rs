//! The HTTP API: one file per slice (a handler parses, calls one verb, answers), the edges every request
//! passes, and the OpenAPI document. No SQL and no decision of the product is made here.

pub mod account;
pub mod api_key;
pub mod assignment;
pub mod audit;
pub mod auth;
pub mod bulk;
pub mod catalogue;
pub mod consent;
pub mod delivery;
pub mod delivery_desk;
pub mod dev;
pub mod device;
pub mod document;
pub mod edge;
pub mod export;
pub mod factor;
pub mod ip_block;
pub mod job;
pub mod kyc;
pub mod kyc_desk;
pub mod notification;
pub mod operation;
pub mod passkey;
pub mod password;
pub mod picture;
pub mod profile;
pub mod queue;
pub mod register;
pub mod report;
pub mod role;
pub mod role_profile;
pub mod schedule;
pub mod school;
pub mod session;
pub mod staff;
pub mod usage;
pub mod user;
pub mod verification;
pub mod wallet;
pub mod webhook;

use keryu_common::{Context, Result};
use poem::{Endpoint, Response};
use poem_openapi::OpenApi;

use edge::limit::{documents, health, jwks};
use edge::route::Table;
use edge::{Edge, State, health as probes};

/// Every operation of the OpenAPI document.
fn operations() -> impl OpenApi {
    (
        auth::Auth,
        register::Registration,
        account::Accounts,
        password::Passwords,
        session::Sessions,
        factor::Factors,
        passkey::Passkeys,
        device::Devices,
        (verification::Verification, verification::ByHand),
        (
            user::Users,
            (profile::Profiles, picture::Pictures),
            report::Reports,
            export::Exports,
            wallet::Wallets,
            (usage::Usage, usage::Intake),
        ),
        ((staff::Staff, bulk::Bulk), (kyc::Kyc, kyc_desk::KycDesk, consent::Consents)),
        ip_block::IpBlocks,
        (
            (delivery::Deliveries, notification::Notifications),
            delivery_desk::DeliveryDesk,
            job::Jobs,
            queue::Queues,
            schedule::Schedules,
        ),
        webhook::Webhooks,
        (audit::Audit, audit::OwnAudit, api_key::ApiKeys),
        (
            role::Roles,
            (
                school::department::Departments,
                school::programme::Programmes,
                school::class_group::ClassGroups,
            ),
            (role_profile::RoleProfiles, assignment::Assignments),
        ),
    )
}

/// What [`operations`] leaves unsaid: security, refusals. One list per slice.
pub fn notes() -> impl Iterator<Item = &'static operation::Note> {
    [
        auth::NOTES,
        register::NOTES,
        account::NOTES,
        password::NOTES,
        session::NOTES,
        factor::NOTES,
        passkey::NOTES,
        device::NOTES,
        verification::NOTES,
        user::NOTES,
        profile::NOTES,
        picture::NOTES,
        report::NOTES,
        export::NOTES,
        wallet::NOTES,
        usage::NOTES,
        staff::NOTES,
        bulk::NOTES,
        ip_block::NOTES,
        kyc::NOTES,
        kyc_desk::NOTES,
        consent::NOTES,
        delivery::NOTES,
        notification::NOTES,
        job::NOTES,
        queue::NOTES,
        schedule::NOTES,
        delivery_desk::NOTES,
        webhook::NOTES,
        role::NOTES,
        audit::NOTES,
        school::department::NOTES,
        school::programme::NOTES,
        school::class_group::NOTES,
        role_profile::NOTES,
        assignment::NOTES,
        api_key::NOTES,
    ]
    .into_iter()
    .flatten()
}

/// The whole API as one endpoint.
///
/// # Errors
/// A setting that cannot be used.
pub fn app(ctx: Context) -> Result<impl Endpoint<Output = Response>> {
    tokio::spawn(keryu_common::ip_block::follow(ctx.clone()));
    let state = State::build(ctx)?;
    let table = Table::of(operations())
        .get("/api/openapi.json", documents(document::json()))
        .get("/api/docs", documents(document::page()))
        .get("/.well-known/jwks.json", jwks(session::jwks))
        .get("/healthz", health(probes::alive))
        .get("/readyz", health(probes::ready))
        .get("/metrics", health(probes::metrics))
        .get("/dev/inbox", dev::page)
        .get("/dev/inbox.json", dev::list);
    Ok(Edge::around(table.into_route(), state))
}
