//! The school's order: departments, programmes, class groups.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::product::{field, read};
use crate::support::school::{MONTHS, School, id};
use crate::support::{Product, dump};

const KINDS: [&str; 3] = ["departments", "programmes", "class-groups"];

/// The noun of a path, as codes say it.
fn noun(kind: &str) -> &str {
    match kind {
        "departments" => "department",
        "programmes" => "programme",
        _ => "class_group",
    }
}

#[tokio::test]
async fn each_kind_is_made_seen_replaced_and_deleted() {
    let school = School::new().await;
    let (department, programme, group) = school.order("Computing", None).await;
    for (kind, made) in [("class-groups", &group), ("programmes", &programme), ("departments", &department)] {
        let path = format!("/api/{kind}/{}", id(made));
        let bearer = format!("Bearer {}", school.dean["access_token"].as_str().unwrap());
        let fields = [("authorization", bearer.as_str())];
        let answer = school.product.send(Method::GET, &path, &Value::Null, &fields).await;
        let first = field(&answer, "etag");
        let (status, seen) = read(answer).await;
        assert_eq!((status, &seen), (200, made));
        school.product.advance(Duration::from_secs(1));
        let mut new = school.asked(made);
        new["name"] = json!(format!("  Another {kind} "));
        let with = [("authorization", bearer.as_str()), ("if-match", first.as_str())];
        let answer = school.product.send(Method::PUT, &path, &new, &with).await;
        let second = field(&answer, "etag");
        let (status, changed) = read(answer).await;
        assert_eq!((status, &changed["name"]), (200, &json!(format!("Another {kind}"))), "{changed}");
        assert_ne!(first, second);
        let (status, refused) = read(school.product.send(Method::PUT, &path, &new, &with).await).await;
        assert_eq!((status, &refused["code"]), (412, &json!("user.changed")), "it is of an older version");
        assert_eq!(school.product.delete(&path, &school.dean).await.0, 204);
        for method in [Method::GET, Method::DELETE] {
            let (status, refused) = school.product.call(method, &path, &Value::Null, &school.dean).await;
            assert_eq!((status, &refused["code"]), (404, &json!(format!("{}.not_found", noun(kind)))));
        }
        assert_eq!(school.put(&path, &new).await.0, 404);
    }
    let lines = "SELECT count(*) FROM audit WHERE actor IS NOT NULL AND (action, entity_type) IN
        (SELECT n || '.' || a, n FROM unnest('{department,programme,class_group}'::text[]) n,
                                      unnest('{created,changed,deleted}'::text[]) a)
        AND ((action LIKE '%.created') = (old_values IS NULL)) AND ((action LIKE '%.deleted') = (new_values IS NULL))";
    assert_eq!(school.product.world.count(lines).await, 9);
}

#[tokio::test]
async fn names_are_unique_without_regard_to_case_also_in_parallel() {
    let school = School::new().await;
    let (_, programme, group) = school.order("Computing", None).await;
    for (kind, body) in [
        ("departments", json!({ "name": "COMPUTING" })),
        (
            "programmes",
            json!({ "name": "computing  DIPLOMA", "department_id": programme["department_id"],
                               "level": "diploma", "duration_months": 24 }),
        ),
        ("class-groups", json!({ "name": "Computing a", "programme_id": group["programme_id"] })),
    ] {
        let (status, refused) = school.post(&format!("/api/{kind}"), &body).await;
        assert_eq!(
            (status, &refused["code"]),
            (409, &json!(format!("{}.name_taken", noun(kind)))),
            "{refused}"
        );
    }
    let bodies: Vec<Value> =
        (0..64).map(|n| json!({ "name": if n % 2 == 0 { "École" } else { "E\u{301}COLE" } })).collect();
    let answers = join_all(bodies.iter().map(|body| school.post("/api/departments", body))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|(_, body)| body["code"] == "department.name_taken").count(), 63);
    // to its own name in other letters one may be renamed
    let made = answers.iter().find(|(status, _)| *status == 201).unwrap();
    assert_eq!(
        school.put(&format!("/api/departments/{}", id(&made.1)), &json!({ "name": "ÉCOLE" })).await.0,
        200
    );
}

#[tokio::test]
async fn what_something_belongs_to_stays() {
    let school = School::new().await;
    let (department, programme, group) = school.order("Computing", None).await;
    for (kind, made) in [("departments", &department), ("programmes", &programme)] {
        let (status, refused) =
            school.product.delete(&format!("/api/{kind}/{}", id(made)), &school.dean).await;
        assert_eq!((status, &refused["code"]), (409, &json!(format!("{}.in_use", noun(kind)))));
    }
    let trainee = school.somebody("tess", "trainee").await;
    let profile = json!({ "admission_number": "A/1", "status": "active", "programme_id": id(&programme),
                          "class_group_id": id(&group) });
    assert_eq!(school.put(&school.of(&trainee, "trainee-profile"), &profile).await.0, 200);
    let path = format!("/api/class-groups/{}", id(&group));
    let (status, refused) = school.product.delete(&path, &school.dean).await;
    assert_eq!((status, &refused["code"]), (409, &json!("class_group.in_use")));
    // nor does it go to another programme with its trainees in it
    let (_, other, _) = school.order("Building", None).await;
    let (status, refused) =
        school.put(&path, &json!({ "name": "Computing A", "programme_id": id(&other) })).await;
    assert_eq!((status, &refused["code"]), (409, &json!("class_group.in_use")));
    assert_eq!(
        school
            .put(
                &school.of(&trainee, "trainee-profile"),
                &json!({ "admission_number": "A/1", "status": "active" })
            )
            .await
            .0,
        200
    );
    assert_eq!(school.product.delete(&path, &school.dean).await.0, 204);
}

#[tokio::test]
async fn lists_run_by_name_in_pages_and_find_parts_of_names() {
    let school = School::new().await;
    let (department, ..) = school.order("Computing", None).await;
    let (other, ..) = school.order("Building", None).await;
    for n in 0..7 {
        let body = json!({ "name": format!("Certificate {n} in Weaving"), "department_id": id(&other),
                           "level": "certificate", "duration_months": 1 });
        assert_eq!(school.post("/api/programmes", &body).await.0, 201);
    }
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = school.get(&format!("/api/programmes?limit=4{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        assert!(page["items"].as_array().unwrap().len() <= 4);
        all.extend(names(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(all.len(), 9);
    assert!(all.is_sorted(), "{all:?}");
    for (query, found) in [
        ("search=WEAV", 7),
        ("search=ce", 7),
        ("search=ng", 0),
        ("search=ing", 9),
        ("search=%25%25%25", 0),
        ("search=c_r", 0),
        ("search=4%20in%20w", 1),
        (&format!("department_id={}", id(&department)), 1),
        (&format!("department_id={}&search=cert", id(&other)), 7),
        (&format!("department_id={}&search=cert", id(&department)), 0),
    ] {
        let (status, page) = school.get(&format!("/api/programmes?{query}")).await;
        assert_eq!((status, names(&page).len()), (200, found), "{query}");
    }
    // a cursor is good for its own list
    let (_, page) = school.get("/api/departments?limit=1").await;
    let next = page["next_cursor"].as_str().unwrap();
    for (path, status) in [
        (format!("/api/departments?cursor={next}"), 200),
        (format!("/api/programmes?cursor={next}"), 422),
        (format!("/api/departments?cursor={}", &next[1..]), 422),
        ("/api/departments?limit=0".to_owned(), 422),
        ("/api/departments?limit=201".to_owned(), 422),
        ("/api/departments?search=%00".to_owned(), 422),
        ("/api/programmes?department_id=x".to_owned(), 422),
    ] {
        assert_eq!(school.get(&path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn a_class_group_has_no_more_trainees_than_places() {
    let school = School::new().await;
    let (_, programme, group) = school.order("Computing", Some(3)).await;
    let mut trainees = Vec::new();
    for n in 0..8 {
        trainees.push(school.somebody(&format!("trainee.{n}"), "trainee").await);
    }
    let profile = |n: usize, status: &str| {
        json!({ "admission_number": format!("A/{n}"), "status": status, "programme_id": id(&programme),
                "class_group_id": id(&group) })
    };
    let puts: Vec<(String, Value)> =
        (0..64).map(|n| (school.of(&trainees[n % 8], "trainee-profile"), profile(n % 8, "active"))).collect();
    let answers = join_all(puts.iter().map(|(path, body)| school.put(path, body))).await;
    let full = answers.iter().filter(|(status, body)| *status == 409 && body["code"] == "class_group.full");
    assert_eq!(full.count(), 40, "five of eight find no place, each time they try");
    let placed = "SELECT count(*) FROM trainee_profiles WHERE class_group_id IS NOT NULL";
    assert_eq!(school.product.world.count(placed).await, 3);
    let path = format!("/api/class-groups/{}", id(&group));
    let smaller = |capacity: i64| json!({ "name": "Computing A", "programme_id": id(&programme), "capacity": capacity });
    let (status, refused) = school.put(&path, &smaller(2)).await;
    assert_eq!((status, &refused["code"]), (409, &json!("class_group.full")));
    // who is done makes room, and who has another role
    let done = answers.iter().position(|(status, _)| *status == 200).unwrap() % 8;
    assert_eq!(
        school.put(&school.of(&trainees[done], "trainee-profile"), &profile(done, "graduated")).await.0,
        200
    );
    assert_eq!(school.put(&path, &smaller(2)).await.0, 200);
}

#[tokio::test]
async fn a_class_group_that_holds_too_many_is_not_locked() {
    let school = School::new().await;
    let (_, programme, group) = school.order("Computing", Some(2)).await;
    let mut paths = Vec::new();
    for n in 0..4 {
        let tokens = school.somebody(&format!("trainee.{n}"), "trainee").await;
        paths.push(school.of(&tokens, "trainee-profile"));
    }
    let put = async |n: usize, status: &str| {
        let body = json!({ "admission_number": format!("A/{n}"), "status": status, "programme_id": id(&programme),
                           "class_group_id": id(&group) });
        school.put(&paths[n], &body).await.0
    };
    assert_eq!((put(0, "active").await, put(1, "active").await), (200, 200));
    let world = &school.product.world;
    world.execute("UPDATE users SET status = 'deleted' WHERE username = 'trainee.0'").await;
    assert_eq!(put(2, "active").await, 200);
    // who was deleted comes back, and there are three of two
    world.execute("UPDATE users SET status = 'active' WHERE username = 'trainee.0'").await;
    for n in 0..3 {
        assert_eq!(put(n, "deferred").await, 200, "{n} keeps their place");
    }
    assert_eq!(put(3, "active").await, 409, "nobody new finds one");
    let path = format!("/api/class-groups/{}", id(&group));
    let asked = |name: &str, capacity: Option<i64>| json!({ "name": name, "programme_id": id(&programme), "capacity": capacity });
    assert_eq!(school.put(&path, &asked("Computing B", Some(2))).await.0, 200, "it is renamed");
    assert_eq!(school.put(&path, &asked("Computing B", Some(1))).await.1["code"], "class_group.full");
    assert_eq!(school.put(&path, &asked("Computing B", None)).await.0, 200);
    assert_eq!(school.put(&path, &asked("Computing B", Some(2))).await.1["code"], "class_group.full");
    // who gave their place up does not come back to it where there is none
    assert_eq!(school.put(&path, &asked("Computing B", Some(3))).await.0, 200);
    assert_eq!((put(0, "withdrawn").await, put(3, "active").await, put(0, "active").await), (200, 200, 409));
}

#[tokio::test]
async fn a_post_with_a_key_is_done_once() {
    let school = School::new().await;
    let bearer = format!("Bearer {}", school.dean["access_token"].as_str().unwrap());
    let fields = [("authorization", bearer.as_str()), ("idempotency-key", "one")];
    let body = json!({ "name": "Computing" });
    let made =
        || async { read(school.product.send(Method::POST, "/api/departments", &body, &fields).await).await };
    let first = made().await;
    assert_eq!(first.0, 201, "{first:?}");
    assert_eq!(made().await, first);
    let other =
        school.product.send(Method::POST, "/api/departments", &json!({ "name": "Other" }), &fields).await;
    assert_eq!(read(other).await.1["code"], "idempotency.mismatch");
    assert_eq!(school.product.world.count("SELECT count(*) FROM departments").await, 1);
}

#[tokio::test]
async fn staff_and_services_read_and_staff_with_the_right_write() {
    let school = School::new().await;
    let (department, ..) = school.order("Computing", None).await;
    let path = format!("/api/departments/{}", id(&department));
    let head = school.somebody("hodder", "hod").await;
    let member = school.somebody("mem", "member").await;
    let (reader, other) = (school.key("roles:read").await, school.key("users:read").await);
    for kind in KINDS {
        let list = format!("/api/{kind}");
        assert_eq!(school.product.get(&list, &head).await.0, 200);
        let (status, refused) = school.product.get(&list, &member).await;
        assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")));
        assert_eq!(school.as_service(&list, &reader).await.0, 200);
        assert_eq!(school.as_service(&list, &other).await.0, 403);
    }
    assert_eq!(school.as_service(&path, &reader).await.1, department);
    assert_eq!(school.product.get(&path, &head).await.0, 200);
    for method in [Method::PUT, Method::DELETE] {
        let (status, refused) = school.product.call(method, &path, &json!({ "name": "X" }), &head).await;
        assert_eq!((status, &refused["code"]), (403, &json!("auth.forbidden")), "a head reads alone");
    }
    let (status, refused) =
        read(school.product.send(Method::DELETE, &path, &Value::Null, &[("x-api-key", &reader)]).await).await;
    assert_eq!((status, &refused["code"]), (401, &json!("auth.required")), "services write nothing");
}

#[tokio::test]
async fn bad_input_is_told_at_once() {
    let school = School::new().await;
    let nothing = "019aa9f3-17cf-7b0a-9e1c-2d3e4f506172";
    let (_, programme, _) = school.order("Computing", None).await;
    let department = programme["department_id"].clone();
    let long = "é".repeat(101);
    for (path, body, pointers) in [
        (
            "/api/departments",
            json!({ "name": " ", "description": "a\u{7}b", "x": 1 }),
            vec!["/description", "/name", "/x"],
        ),
        ("/api/departments", json!({ "name": long }), vec!["/name"]),
        ("/api/departments", json!({}), vec!["/name"]),
        (
            "/api/programmes",
            json!({ "name": "a", "department_id": "x", "level": "", "duration_months": 0 }),
            vec!["/department_id", "/duration_months", "/level"],
        ),
        (
            "/api/programmes",
            json!({ "name": "a", "department_id": nothing, "level": "b", "duration_months": 120 }),
            vec!["/department_id"],
        ),
        (
            "/api/programmes",
            json!({ "name": "a", "department_id": department, "level": "b", "duration_months": 1e30 }),
            vec!["/duration_months"],
        ),
        (
            "/api/class-groups",
            json!({ "name": "a", "programme_id": nothing, "intake": "2026-13", "capacity": 0 }),
            vec!["/capacity", "/intake"],
        ),
        ("/api/class-groups", json!({ "name": "a", "programme_id": nothing }), vec!["/programme_id"]),
        (
            "/api/class-groups",
            json!({ "name": "a", "programme_id": nothing, "capacity": 2.5 }),
            vec!["/capacity"],
        ),
    ] {
        let (status, refused) = school.post(path, &body).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{body}: {refused}");
        let mut told: Vec<&str> =
            refused["errors"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap()).collect();
        told.dedup();
        assert_eq!(told, pointers, "{body}");
    }
    assert_eq!(school.post("/api/departments", &json!({ "name": "a\u{0}b" })).await.0, 400);
    assert_eq!(school.product.delete("/api/departments/x", &school.dean).await.0, 404);
    assert_eq!(school.product.world.count("SELECT count(*) FROM departments").await, 1);
    // the longest name that is allowed is found again behind a cursor
    for name in ["ﷺ".repeat(100), "İ".repeat(100)] {
        assert_eq!(school.post("/api/departments", &json!({ "name": name })).await.0, 201);
    }
    let (_, page) = school.get("/api/departments?limit=2").await;
    let next = page["next_cursor"].as_str().unwrap();
    assert_eq!(school.get(&format!("/api/departments?cursor={next}")).await.0, 200);
}

#[tokio::test]
async fn what_a_person_is_called_in_school_goes_with_them() {
    let school = School::new().await;
    let (department, programme, group) = school.order("Computing", None).await;
    let tess = school.somebody("tess", "trainee").await;
    let tom = school.somebody("tom", "trainer").await;
    let trainee = json!({ "admission_number": "ERASE-ME-1", "status": "active", "programme_id": id(&programme),
                          "class_group_id": id(&group), "intake": MONTHS[0] });
    assert_eq!(school.put(&school.of(&tess, "trainee-profile"), &trainee).await.0, 200);
    let trainer = json!({ "staff_number": "ERASE-ME-2", "qualifications": ["ERASE-ME-3"],
                          "specialisation": "ERASE-ME-4", "department_id": id(&department) });
    assert_eq!(school.put(&school.of(&tom, "trainer-profile"), &trainer).await.0, 200);
    let assigned = json!({ "title": "Databases", "from": "2026-01-01", "class_group_id": id(&group) });
    assert_eq!(school.post(&school.of(&tom, "assignments"), &assigned).await.0, 201);
    let kept = |trace: &'static str| {
        let world = &school.product.world;
        async move {
            let tables = dump::tables(world).await;
            let mut found: Vec<String> = tables
                .into_iter()
                .filter(|(_, rows)| rows.iter().any(|row| row.to_lowercase().contains(trace)))
                .map(|(table, _)| table)
                .collect();
            found.sort_unstable();
            found
        }
    };
    assert_eq!(
        kept("erase-me").await,
        ["trainee_profiles", "trainer_profiles"],
        "audit lines hold it sealed"
    );
    for tokens in [&tess, &tom] {
        assert_eq!(school.product.delete("/api/auth/account", tokens).await.0, 202);
    }
    school.product.drain().await;
    school.product.advance(Duration::from_secs(31 * 24 * 3600));
    school.erase_due().await;
    assert_eq!(kept("erase-me").await, [""; 0]);
    assert_eq!(school.product.world.count("SELECT count(*) FROM assignments").await, 0);
    // and nobody belongs to what they belonged to
    let dean = school.again().await;
    for (kind, it) in [("class-groups", &group), ("programmes", &programme), ("departments", &department)] {
        assert_eq!(school.product.delete(&format!("/api/{kind}/{}", id(it)), &dean).await.0, 204);
    }
}

#[tokio::test]
async fn nothing_of_school_is_for_strangers() {
    let product = Product::new().await;
    for kind in KINDS {
        let (status, refused) =
            read(product.send(Method::GET, &format!("/api/{kind}/"), &Value::Null, &[]).await).await;
        assert_eq!((status, &refused["code"]), (401, &json!("auth.required")));
    }
}
