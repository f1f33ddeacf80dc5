//! Role profiles and assignments: what a role adds to a person.

use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{field, read};
use crate::support::school::{MONTHS, School, id};

fn code((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Where the faults are.
fn pointers(refusal: &Value) -> Vec<&str> {
    refusal["errors"].as_array().expect("errors").iter().filter_map(|it| it["pointer"].as_str()).collect()
}

impl School {
    fn today(&self) -> NaiveDate {
        self.product.ctx.now().date_naive()
    }

    /// A day so many days from today.
    fn day(&self, ahead: i64) -> String {
        (self.today() + TimeDelta::days(ahead)).to_string()
    }
}

#[tokio::test]
async fn each_role_has_its_profile_which_its_owner_and_services_read() {
    let school = School::new().await;
    let (department, programme, group) = school.order("Computing", Some(30)).await;
    let key = school.key("roles:read").await;
    let stranger = school.somebody("stranger", "member").await;
    for (name, role, path, body) in [
        (
            "tess",
            "trainee",
            "trainee-profile",
            json!({ "admission_number": "DIT/0042/2026", "status": "active", "programme_id": id(&programme),
                    "class_group_id": id(&group), "intake": MONTHS[0] }),
        ),
        (
            "tom",
            "trainer",
            "trainer-profile",
            json!({ "staff_number": "T-0107", "qualifications": ["BSc Computer Science"],
                    "specialisation": "Databases", "teaching_load": 18, "department_id": id(&department) }),
        ),
        ("hanna", "hod", "hod-profile", json!({ "department_id": id(&department), "since": school.day(0) })),
        (
            "dan",
            "dp_academics",
            "dp-academics-profile",
            json!({ "office": "Block A, room 12", "since": school.day(-9) }),
        ),
    ] {
        let tokens = school.somebody(name, role).await;
        let path = school.of(&tokens, path);
        assert_eq!(code(school.get(&path).await), refused(404, "role_profile.not_found"));
        let (status, written) = school.put(&path, &body).await;
        assert_eq!(status, 200, "{written}");
        for (field, value) in body.as_object().unwrap() {
            assert_eq!(&written[field], value, "{field}");
        }
        assert_eq!(school.product.get(&path, &tokens).await, (200, written.clone()), "one's own");
        assert_eq!(school.as_service(&path, &key).await, (200, written.clone()));
        assert_eq!(code(school.product.get(&path, &stranger).await), refused(404, "user.not_found"));
        // the owner reads, and does not write
        if role == "trainee" || role == "trainer" {
            let own = school.product.call(Method::PUT, &path, &body, &tokens).await;
            assert_eq!(code(own), refused(403, "auth.forbidden"));
        }
        // with another role it is kept, and not shown
        school.give(name, "member").await;
        assert_eq!(code(school.product.get(&path, &tokens).await), refused(404, "role_profile.not_found"));
        assert_eq!(code(school.put(&path, &body).await), refused(409, "role_profile.other_role"));
        school.give(name, role).await;
        assert_eq!(school.product.get(&path, &tokens).await, (200, written));
    }
    let looks = "SELECT count(*) FROM audit WHERE action = 'role_profile.read' AND entity_type = 'user'
                 AND actor::text <> entity_id";
    // the deputy principal's at what was not there yet, the service's at what was
    assert_eq!(school.product.world.count(looks).await, 8);
    let services = "SELECT count(*) FROM audit WHERE action = 'role_profile.read' AND details->>'service' = 'attendance'";
    assert_eq!(school.product.world.count(services).await, 4);
    let other = school.key("users:read").await;
    let tess = "SELECT user_id FROM users WHERE username = 'tess'";
    let tess: uuid::Uuid = sqlx::query_scalar(tess).fetch_one(&school.product.world.db).await.unwrap();
    let path = format!("/api/users/{tess}/trainee-profile");
    assert_eq!(code(school.as_service(&path, &other).await), refused(403, "auth.forbidden"));
}

#[tokio::test]
async fn a_change_is_for_the_version_it_names_and_told_in_the_audit() {
    let school = School::new().await;
    let tess = school.somebody("tess", "trainee").await;
    let path = school.of(&tess, "trainee-profile");
    let bearer = format!("Bearer {}", school.dean["access_token"].as_str().unwrap());
    let body = |status: &str| json!({ "admission_number": "A 1", "status": status });
    let put = |version: String, status: &'static str| {
        let (school, path, bearer) = (&school, path.clone(), bearer.clone());
        async move {
            let fields = [("authorization", bearer.as_str()), ("if-match", version.as_str())];
            school.product.send(Method::PUT, &path, &body(status), &fields).await
        }
    };
    assert_eq!(put("\"1\"".to_owned(), "active").await.status(), 412, "there is none yet");
    let first = field(&put("*".to_owned(), "active").await, "etag");
    school.product.advance(Duration::from_secs(1));
    assert_eq!(put(first.clone(), "deferred").await.status(), 200);
    assert_eq!(code(read(put(first, "active").await).await), refused(412, "user.changed"));
    let lines = "SELECT count(*) FROM audit WHERE action = 'trainee_profile.changed' AND old_values->>'status' = 'active'
                 AND new_values->>'status' = 'deferred' AND actor IS NOT NULL";
    assert_eq!(school.product.world.count(lines).await, 1);
    let sealed = "SELECT count(*) FROM audit WHERE action = 'trainee_profile.changed' AND sealed IS NOT NULL";
    assert_eq!(school.product.world.count(sealed).await, 1, "the number, once");
}

#[tokio::test]
async fn a_number_is_one_persons() {
    let school = School::new().await;
    let mut people = Vec::new();
    for n in 0..4 {
        people.push(school.somebody(&format!("trainee.{n}"), "trainee").await);
    }
    let numbers = ["DIT/1", "dit/1", "D I T / 1", "DIT/1"];
    let puts: Vec<(String, Value)> = (0..32)
        .map(|n| {
            let body = json!({ "admission_number": numbers[n % 4], "status": "active" });
            (school.of(&people[n % 4], "trainee-profile"), body)
        })
        .collect();
    let answers = join_all(puts.iter().map(|(path, body)| school.put(path, body))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 8, "the first one's");
    let taken = answers.iter().filter(|(_, body)| body["code"] == "role_profile.number_taken").count();
    assert_eq!(taken, 24);
    let tom = school.somebody("tom", "trainer").await;
    let body = json!({ "staff_number": "DIT/1" });
    let (status, written) = school.put(&school.of(&tom, "trainer-profile"), &body).await;
    assert_eq!((status, &written["qualifications"]), (200, &json!([])), "staff have numbers of their own");
}

#[tokio::test]
async fn a_department_has_one_head_at_a_time() {
    let school = School::new().await;
    let (department, ..) = school.order("Computing", None).await;
    let mut heads = Vec::new();
    for n in 0..4 {
        heads.push(school.somebody(&format!("head.{n}"), "hod").await);
    }
    let body = json!({ "department_id": id(&department), "since": "2026-01-05" });
    let paths: Vec<String> = heads.iter().map(|head| school.of(head, "hod-profile")).collect();
    let answers = join_all((0..64).map(|n| school.put(&paths[n % 4], &body))).await;
    let first = answers.iter().position(|(status, _)| *status == 200).unwrap() % 4;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 16);
    let taken = answers.iter().filter(|(_, body)| body["code"] == "role_profile.department_taken").count();
    assert_eq!(taken, 48);
    // who has the role no more makes room, and does not come back to it
    school.give(&format!("head.{first}"), "trainer").await;
    let next = (first + 1) % 4;
    assert_eq!(school.put(&paths[next], &body).await.0, 200);
    school.give(&format!("head.{first}"), "hod").await;
    let path = &paths[first];
    assert_eq!(code(school.product.get(path, &heads[first]).await), refused(404, "role_profile.not_found"));
    let lines = "SELECT count(*) FROM audit WHERE action = 'hod_profile.released' AND entity_type = 'user'";
    assert_eq!(school.product.world.count(lines).await, 1);
}

#[tokio::test]
async fn nobody_reads_or_writes_above_their_own_rank() {
    let school = School::new().await;
    let head = school.somebody("hanna", "hod").await;
    let dean = school.of(&school.dean, "dp-academics-profile");
    let body = json!({ "office": "Block A", "since": "2026-01-05" });
    assert_eq!(school.put(&dean, &body).await.0, 200);
    assert_eq!(code(school.product.get(&dean, &head).await), refused(403, "auth.forbidden"));
    school
        .product
        .world
        .execute("UPDATE roles SET permissions = permissions || '{school.write}' WHERE role = 'hod'")
        .await;
    let written = school.product.call(Method::PUT, &dean, &body, &head).await;
    assert_eq!(code(written), refused(403, "auth.forbidden"));
    let assigned = json!({ "title": "x", "from": "2026-01-05", "department_id": head["user_id"] });
    let path = school.of(&school.dean, "assignments");
    assert_eq!(
        code(school.product.call(Method::POST, &path, &assigned, &head).await),
        refused(403, "auth.forbidden")
    );
    assert_eq!(code(school.product.get(&path, &head).await), refused(403, "auth.forbidden"));
    let nobody = "/api/users/019aa9f3-17cf-7b0a-9e1c-2d3e4f506172/hod-profile";
    assert_eq!(code(school.get(nobody).await), refused(404, "user.not_found"));
    // a right that is taken away is gone at once
    school.product.world.execute("UPDATE roles SET permissions = '{}' WHERE role = 'hod'").await;
    let trainee = school.somebody("tess", "trainee").await;
    let path = school.of(&trainee, "trainee-profile");
    assert_eq!(code(school.product.get(&path, &head).await), refused(404, "user.not_found"));
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_with_every_fault() {
    let school = School::new().await;
    let (_, programme, group) = school.order("Computing", None).await;
    let (_, other, _) = school.order("Building", None).await;
    let nothing = "019aa9f3-17cf-7b0a-9e1c-2d3e4f506172";
    let tess = school.somebody("tess", "trainee").await;
    let tom = school.somebody("tom", "trainer").await;
    let hanna = school.somebody("hanna", "hod").await;
    let trainee = |programme: Value, group: Value| json!({ "admission_number": "A/1", "status": "active", "programme_id": programme, "class_group_id": group });
    for (tokens, path, body, faults) in [
        (&tess, "trainee-profile", trainee(json!(id(&other)), json!(id(&group))), vec!["/class_group_id"]),
        (&tess, "trainee-profile", trainee(Value::Null, json!(id(&group))), vec!["/class_group_id"]),
        (
            &tess,
            "trainee-profile",
            trainee(json!(nothing), json!(nothing)),
            vec!["/programme_id", "/class_group_id"],
        ),
        (&tess, "trainee-profile", trainee(json!(id(&programme)), json!(nothing)), vec!["/class_group_id"]),
        (
            &tess,
            "trainee-profile",
            json!({ "admission_number": "/", "status": "tired", "intake": "September" }),
            vec!["/admission_number", "/intake", "/status"],
        ),
        (
            &tess,
            "trainee-profile",
            json!({ "admission_number": "A".repeat(41), "status": "active" }),
            vec!["/admission_number"],
        ),
        (
            &tom,
            "trainer-profile",
            json!({ "staff_number": "T1", "teaching_load": 81, "qualifications": ["", "ok"], "department_id": "x" }),
            vec!["/department_id", "/qualifications/0", "/teaching_load"],
        ),
        (
            &tom,
            "trainer-profile",
            json!({ "staff_number": "T1", "department_id": nothing }),
            vec!["/department_id"],
        ),
        (
            &hanna,
            "hod-profile",
            json!({ "department_id": nothing, "since": school.day(2) }),
            vec!["/since", "/department_id"],
        ),
        (&hanna, "hod-profile", json!({ "department_id": nothing, "since": "0001-01-01" }), vec!["/since"]),
    ] {
        let (status, told) = school.put(&school.of(tokens, path), &body).await;
        assert_eq!((status, &told["code"]), (422, &json!("request.invalid")), "{body}: {told}");
        assert_eq!(pointers(&told), faults, "{body}");
    }
    let zero = json!({ "admission_number": "A\u{0}", "status": "active" });
    assert_eq!(school.put(&school.of(&tess, "trainee-profile"), &zero).await.0, 400);
    assert_eq!(school.product.world.count("SELECT count(*) FROM trainee_profiles").await, 0);
    // of somebody deleted nothing is written, and services see nothing
    let key = school.key("roles:read").await;
    assert_eq!(school.product.delete("/api/auth/account", &tess).await.0, 202);
    let path = school.of(&tess, "trainee-profile");
    assert_eq!(
        code(school.put(&path, &trainee(Value::Null, Value::Null)).await),
        refused(409, "user.deleted")
    );
    assert_eq!(code(school.as_service(&path, &key).await), refused(404, "user.not_found"));
}

#[tokio::test]
async fn an_assignment_is_made_ended_and_kept_as_history() {
    let school = School::new().await;
    let (department, programme, group) = school.order("Computing", None).await;
    let tom = school.somebody("tom", "trainer").await;
    let path = school.of(&tom, "assignments");
    let mut made = Vec::new();
    for (place, from, until, state) in [
        (json!({ "class_group_id": id(&group) }), -1, Some(90), "active"),
        (json!({ "programme_id": id(&programme) }), 1, None, "planned"),
        (json!({ "department_id": id(&department) }), -30, Some(-1), "ended"),
    ] {
        let mut body = place;
        body["title"] = json!("Databases");
        body["from"] = json!(school.day(from));
        body["until"] = json!(until.map(|days| school.day(days)));
        school.product.advance(Duration::from_secs(1));
        let (status, assigned) = school.post(&path, &body).await;
        assert_eq!((status, &assigned["state"]), (201, &json!(state)), "{assigned}");
        made.push(assigned);
    }
    let of = |n: usize| format!("{path}/{}", made[n]["id"].as_str().unwrap());
    assert_eq!(school.product.delete(&of(0), &school.dean).await.0, 204);
    assert_eq!(school.product.delete(&of(1), &school.dean).await.0, 204, "before its first day too");
    for n in 0..3 {
        assert_eq!(code(school.product.delete(&of(n), &school.dean).await), refused(409, "assignment.ended"));
    }
    let (status, page) = school.product.get(&format!("{path}?limit=2"), &tom).await;
    assert_eq!(status, 200, "{page}");
    let next = page["next_cursor"].as_str().unwrap();
    let (_, rest) = school.product.get(&format!("{path}?cursor={next}"), &tom).await;
    let all: Vec<&Value> =
        page["items"].as_array().unwrap().iter().chain(rest["items"].as_array().unwrap()).collect();
    assert_eq!(
        all.iter().map(|it| &it["id"]).collect::<Vec<_>>(),
        [&made[2]["id"], &made[1]["id"], &made[0]["id"]]
    );
    assert!(all.iter().all(|it| it["state"] == "ended"));
    assert_eq!(rest["next_cursor"], Value::Null);
    // its history keeps the class group there
    let (status, told) =
        school.product.delete(&format!("/api/class-groups/{}", id(&group)), &school.dean).await;
    assert_eq!((status, &told["code"]), (409, &json!("class_group.in_use")));
    // another person's list knows neither the cursor nor the assignment
    let tim = school.somebody("tim", "trainer").await;
    let other = school.of(&tim, "assignments");
    assert_eq!(school.product.get(&format!("{other}?cursor={next}"), &tim).await.0, 422);
    let foreign = format!("{other}/{}", made[0]["id"].as_str().unwrap());
    assert_eq!(
        code(school.product.delete(&foreign, &school.dean).await),
        refused(404, "assignment.not_found")
    );
    let lines = "SELECT count(*) FROM audit WHERE action IN ('assignment.created', 'assignment.ended')
                 AND entity_type = 'user' AND details ? 'assignment'";
    assert_eq!(school.product.world.count(lines).await, 5);
}

#[tokio::test]
async fn what_another_process_wrote_down_is_in_the_list_though_its_clock_is_ahead() {
    let school = School::new().await;
    let (department, ..) = school.order("Computing", None).await;
    let tom = school.somebody("tom", "trainer").await;
    let path = school.of(&tom, "assignments");
    let body = json!({ "department_id": id(&department), "title": "Tutor", "from": school.day(0) });
    assert_eq!(school.post(&path, &body).await.0, 201);
    let ahead = "UPDATE assignments SET created_at = created_at + interval '30 seconds'";
    assert_eq!(school.product.world.execute(ahead).await, 1);
    let (status, page) = school.product.get(&path, &tom).await;
    assert_eq!((status, page["items"].as_array().unwrap().len()), (200, 1), "{page}");
}

#[tokio::test]
async fn the_same_assignment_is_had_once_on_a_day_also_in_parallel() {
    let school = School::new().await;
    let (department, programme, group) = school.order("Computing", None).await;
    let tom = school.somebody("tom", "trainer").await;
    let path = school.of(&tom, "assignments");
    let body = |title: &str, from: i64, until: Option<i64>| {
        json!({ "class_group_id": id(&group), "title": title, "from": school.day(from),
                "until": until.map(|days| school.day(days)) })
    };
    let bodies: Vec<Value> = (0..64).map(|n| body("Databases", n, None)).collect();
    let answers = join_all(bodies.iter().map(|body| school.post(&path, body))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|(_, body)| body["code"] == "assignment.overlaps").count(), 63);
    let first = answers.into_iter().find(|(status, _)| *status == 201).unwrap().1;
    let first_path = format!("{path}/{}", id(&first));
    assert_eq!(school.product.delete(&first_path, &school.dean).await.0, 204);
    for (title, from, until, status) in [
        ("Networks", -10, Some(-5), 201),
        ("networks", -5, None, 409),
        ("NETWORKS ", -20, Some(-10), 409),
        ("Networks", -4, None, 201),
        ("Networks", -100, None, 409),
        ("Networks", 3_000, Some(3_001), 409),
        // what was ended by hand was not had from that day on
        ("Databases", 0, None, 201),
    ] {
        let (answer, told) = school.post(&path, &body(title, from, until)).await;
        assert_eq!(answer, status, "{title} {from} {until:?}: {told}");
    }
    for place in [json!({ "department_id": id(&department) }), json!({ "programme_id": id(&programme) })] {
        let mut other = place;
        (other["title"], other["from"]) = (json!("Networks"), json!(school.day(0)));
        assert_eq!(school.post(&path, &other).await.0, 201, "elsewhere it is another one");
    }
}

#[tokio::test]
async fn assignments_are_for_teaching_staff_and_of_one_place() {
    let school = School::new().await;
    let (department, programme, _) = school.order("Computing", None).await;
    let tess = school.somebody("tess", "trainee").await;
    let tom = school.somebody("tom", "trainer").await;
    let body = json!({ "department_id": id(&department), "title": "Tutor", "from": "2026-01-01" });
    let answer = school.post(&school.of(&tess, "assignments"), &body).await;
    assert_eq!(code(answer), refused(409, "assignment.other_role"));
    let path = school.of(&tom, "assignments");
    let nothing = "019aa9f3-17cf-7b0a-9e1c-2d3e4f506172";
    for (body, faults) in [
        (json!({ "title": "Tutor", "from": "2026-01-01" }), vec![""]),
        (
            json!({ "department_id": id(&department), "programme_id": id(&programme), "title": "Tutor", "from": "2026-01-01" }),
            vec![""],
        ),
        (
            json!({ "class_group_id": nothing, "title": "Tutor", "from": "2026-01-02", "until": "2026-01-01" }),
            vec!["/class_group_id", "/until"],
        ),
        (
            json!({ "class_group_id": nothing, "title": "", "from": "2026-02-30", "until": "10000-01-01" }),
            vec!["/from", "/title", "/until"],
        ),
    ] {
        let (status, told) = school.post(&path, &body).await;
        assert_eq!((status, &told["code"]), (422, &json!("request.invalid")), "{body}: {told}");
        assert_eq!(pointers(&told), faults, "{body}");
    }
    // a key is for one person's list: the same body for another one is another call
    let tim = school.somebody("tim", "trainer").await;
    let bearer = format!("Bearer {}", school.dean["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let post = |tokens: &Value| {
        let path = school.of(tokens, "assignments");
        let (school, body) = (&school, &body);
        async move { read(school.product.send(Method::POST, &path, body, &fields).await).await }
    };
    let first = post(&tom).await;
    assert_eq!((first.0, &first.1["user_id"]), (201, &tom["user_id"]));
    assert_eq!(post(&tom).await, first);
    assert_eq!(post(&tim).await.1["user_id"], tim["user_id"]);
    assert_eq!(school.product.world.count("SELECT count(*) FROM assignments").await, 2);
    let key = school.key("roles:read").await;
    let (status, listed) = school.as_service(&path, &key).await;
    assert_eq!((status, listed["items"].as_array().unwrap().len()), (200, 1));
    let lines = "SELECT count(*) FROM audit WHERE action = 'assignment.listed' AND details ? 'service'";
    assert_eq!(school.product.world.count(lines).await, 1);
}
