//! Assignments over HTTP: who teaches or looks after what, with history.

use chrono::{DateTime, NaiveDate, Utc};
use keryu_common::api_key::Scope;
use keryu_common::config::Config;
use keryu_common::error::VALIDATION;
use keryu_common::role::Permission;
use keryu_common::school::assignment::{self, Ask, Assignment, State};
use keryu_common::{Context, idempotency, session, user};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use uuid::Uuid;

use crate::edge::body::{Body, Input};
use crate::edge::client::Caller;
use crate::edge::field::{DayIn, LineIn};
use crate::edge::idempotency::Idempotent;
use crate::edge::party::Party;
use crate::edge::problem::{Answer, NOT_FOUND};
use crate::edge::signed::Signed;
use crate::operation::{Created, Gone, Note, Security, Tag};

/// What the document says of the operations here.
pub const NOTES: &[Note] = &[
    Note {
        operation: "assignment_list",
        security: Security::BearerOrKey(Scope::RolesRead),
        refusals: &[user::NOT_FOUND, NOT_FOUND, session::FORBIDDEN, VALIDATION],
    },
    Note {
        operation: "assignment_create",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[
            user::NOT_FOUND,
            NOT_FOUND,
            user::IS_DELETED,
            assignment::OTHER_ROLE,
            assignment::OVERLAPS,
            idempotency::MISMATCH,
            idempotency::LOST,
        ],
    },
    Note {
        operation: "assignment_end",
        security: Security::Staff(Permission::SchoolWrite),
        refusals: &[user::NOT_FOUND, NOT_FOUND, user::IS_DELETED, assignment::NOT_FOUND, assignment::ENDED],
    },
];

/// How an assignment stands.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case", remote = "State")]
pub enum AssignmentStateOut {
    /// Its first day is to come.
    Planned,
    /// Begun, and not over.
    Active,
    /// Over: kept as history.
    Ended,
}

/// An assignment: of one department, programme or class group.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RoleAssignmentOut {
    /// Which.
    id: Uuid,
    /// Whose.
    user_id: Uuid,
    /// To this.
    department_id: Option<Uuid>,
    /// Or to this.
    programme_id: Option<Uuid>,
    /// Or to this.
    class_group_id: Option<Uuid>,
    /// The subject, or what they are there.
    title: String,
    /// The first day.
    from: NaiveDate,
    /// The last day; null: until it is ended.
    until: Option<NaiveDate>,
    /// How it stands, by days in UTC.
    state: AssignmentStateOut,
    /// When staff ended it.
    ended_at: Option<DateTime<Utc>>,
    /// When it was written down.
    created_at: DateTime<Utc>,
}

impl RoleAssignmentOut {
    fn of(it: Assignment, now: DateTime<Utc>) -> Self {
        Self {
            id: it.assignment_id,
            user_id: it.user_id,
            state: it.state(now).into(),
            department_id: it.department_id,
            programme_id: it.programme_id,
            class_group_id: it.class_group_id,
            title: it.title,
            from: it.from_day,
            until: it.until_day,
            ended_at: it.ended_at,
            created_at: it.created_at,
        }
    }
}

impl Example for RoleAssignmentOut {
    fn example() -> Self {
        Self {
            id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6183),
            user_id: Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6172),
            department_id: None,
            programme_id: None,
            class_group_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6182)),
            title: "Database systems".to_owned(),
            from: NaiveDate::from_ymd_opt(2026, 9, 1).unwrap_or_default(),
            until: NaiveDate::from_ymd_opt(2026, 12, 4),
            state: AssignmentStateOut::Active,
            ended_at: None,
            created_at: DateTime::from_timestamp(1_793_000_000, 0).unwrap_or_default(),
        }
    }
}

/// A page of assignments.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RoleAssignmentsOut {
    /// The last written down first.
    items: Vec<RoleAssignmentOut>,
    /// For the next page; null after the last.
    next_cursor: Option<String>,
}

impl Example for RoleAssignmentsOut {
    fn example() -> Self {
        Self { items: vec![RoleAssignmentOut::example()], next_cursor: None }
    }
}

/// An assignment to be, of one department, programme or class group.
#[derive(Debug, Object)]
#[oai(example)]
pub struct RoleAssignmentIn {
    /// To this.
    department_id: Option<Uuid>,
    /// Or to this.
    programme_id: Option<Uuid>,
    /// Or to this.
    class_group_id: Option<Uuid>,
    /// The subject, or what they are there.
    title: LineIn,
    /// The first day.
    from: DayIn,
    /// The last day; absent: until it is ended.
    until: Option<DayIn>,
}

impl Example for RoleAssignmentIn {
    fn example() -> Self {
        Self {
            department_id: None,
            programme_id: None,
            class_group_id: Some(Uuid::from_u128(0x019a_9f31_7cf2_7b0a_9e1c_2d3e_4f50_6182)),
            title: LineIn("Database systems".to_owned()),
            from: DayIn("2026-09-01".to_owned()),
            until: Some(DayIn("2026-12-04".to_owned())),
        }
    }
}

impl Input for RoleAssignmentIn {
    type Ask = Ask;
    fn ask(self, _: &Config) -> Option<Ask> {
        Some(Ask {
            department_id: self.department_id,
            programme_id: self.programme_id,
            class_group_id: self.class_group_id,
            title: self.title.parse()?,
            from_day: self.from.parse()?,
            until_day: self.until.as_ref().and_then(DayIn::parse),
        })
    }
}

/// The operations.
#[derive(Clone, Copy, Debug)]
pub struct Assignments;

#[OpenApi(prefix_path = "/api/users", tag = "Tag::School")]
impl Assignments {
    /// List somebody's assignments
    ///
    /// Past ones too, the last written down first. One's own; staff with `school.read` and services with the
    /// scope `roles:read` anybody's up to their rank.
    #[oai(path = "/:id/assignments", method = "get", operation_id = "assignment_list")]
    async fn list(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        party: Party,
        /// Whose.
        id: Path<Uuid>,
        /// How many at most; 50 without it.
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u16>>,
        /// `next_cursor` of the page before.
        #[oai(validator(max_length = 100))]
        cursor: Query<Option<String>>,
    ) -> Answer<Json<RoleAssignmentsOut>> {
        let (limit, cursor) = (limit.0.unwrap_or(50), cursor.0.as_deref());
        let page = assignment::list(&ctx, &from, party.reader(), id.0, limit, cursor).await?;
        let now = ctx.now();
        Ok(Json(RoleAssignmentsOut {
            items: page.items.into_iter().map(|it| RoleAssignmentOut::of(it, now)).collect(),
            next_cursor: page.next_cursor,
        }))
    }

    /// Assign somebody
    ///
    /// To a department, a programme or a class group: people with the role `trainer`, `hod` or `dp_academics`. The
    /// same person is not assigned to the same thing with the same title twice on one day.
    #[oai(path = "/:id/assignments", method = "post", operation_id = "assignment_create")]
    async fn create(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whom.
        id: Path<Uuid>,
        /// The same key and body within a day gets the saved answer.
        #[oai(name = "Idempotency-Key")]
        key: Idempotent,
        body: Body<RoleAssignmentIn>,
    ) -> Answer<Created<RoleAssignmentOut>> {
        let operation = format!("assignment_create {}", id.0);
        let key = key.bind_as(&ctx.config, &person, &operation, &body.raw)?;
        let made = assignment::create(&ctx, &from, &person, id.0, body.ask, key.as_ref()).await?;
        Ok(Created(RoleAssignmentOut::of(made, ctx.now())))
    }

    /// End an assignment
    ///
    /// From today on it is over. It stays in the list as history.
    #[oai(path = "/:id/assignments/:assignment_id", method = "delete", operation_id = "assignment_end")]
    async fn end(
        &self,
        ctx: Data<&Context>,
        from: Caller,
        person: Signed,
        /// Whose.
        id: Path<Uuid>,
        /// From the list.
        assignment_id: Path<Uuid>,
    ) -> Answer<Gone> {
        assignment::end(&ctx, &from, &person, id.0, assignment_id.0).await?;
        Ok(Gone)
    }
}
