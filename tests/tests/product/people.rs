//! The staff's list of people: every filter, order and search finds whom it should, in order, and counts them.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

use keryu_common::database::MIGRATIONS;
use keryu_common::job::Terms;
use keryu_common::user::common_word::CountWords;

use super::support::{Engine, Product};

/// A person as the database has them.
struct Somebody {
    id: String,
    /// Everything they are found by, a field each.
    fields: Vec<String>,
    username: String,
    status: String,
    role: String,
    email_verified: bool,
    phone_verified: bool,
    joined: i64,
    signed_in: Option<i64>,
}

/// Twelve hundred people: a third of them share a given name, and numbers begin alike.
async fn crowd(product: &Product) {
    let sql = "INSERT INTO users (user_id, username, username_skeleton, first_name, last_name, email, phone_number,
                                  status, role, email_verified_at, phone_verified_at, created_at, updated_at,
                                  last_login_at)
               SELECT gen_random_uuid(), first || '.' || n, first || '.' || n, initcap(first), last,
                      first || '.' || n || '@school' || n % 3 || '.example', '+254711' || lpad((n * 7919 % 1000000)::text, 6, '0'),
                      CASE WHEN n % 10 < 8 THEN 'active' WHEN n % 10 = 8 THEN 'suspended' ELSE 'deleted' END::user_status,
                      CASE WHEN n % 4 = 0 THEN 'trainee' ELSE 'member' END,
                      CASE WHEN n % 5 > 0 THEN $1 END, CASE WHEN n % 6 = 0 THEN $1 END,
                      $1 - n / 2 * interval '1 hour', $1, CASE WHEN n % 3 > 0 THEN $1 - n * 37 % 1000 * interval '1 minute' END
               FROM generate_series(1, 1200) AS n,
                    LATERAL (SELECT (ARRAY['wanjiru', 'wanjiru', 'otieno', 'ada', 'zoe', 'annwanji'])[1 + n % 6] AS first,
                                    (ARRAY['Odhiambo', 'O''Brien', 'Wanja', 'Lovelace', 'Müller'])[1 + n % 5] AS last) x";
    sqlx::query(sql).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
    let odd = "INSERT INTO users (user_id, username, username_skeleton, first_name, last_name, email, created_at, updated_at)
               VALUES (gen_random_uuid(), 'lab12x', 'lab12x', 'Mary Jane', 'van der Berg', 'unit-a7-b2@late.example', $1, $1)";
    sqlx::query(odd).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
    let numbered = "INSERT INTO users (user_id, username, username_skeleton, email, created_at, updated_at)
                    SELECT gen_random_uuid(), 'wanjiru.wanja.' || n, 'wanjiru.wanja.' || n, 'lab7.wanja.' || n || '@late.example', $1, $1
                    FROM generate_series(1, 150) AS n";
    sqlx::query(numbered).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
}

async fn everybody(product: &Product) -> Vec<Somebody> {
    let rows = sqlx::query(
        "SELECT user_id::text, username, coalesce(first_name || ' ' || last_name, '') AS name,
                coalesce(last_name, '') AS last, coalesce(email, '') AS email, coalesce(phone_number, '') AS phone,
                status::text AS status, role, email_verified_at IS NOT NULL AS ev, phone_verified_at IS NOT NULL AS pv,
                (extract(epoch FROM created_at) * 1000000)::bigint AS joined,
                (extract(epoch FROM last_login_at) * 1000000)::bigint AS signed_in
         FROM users",
    );
    let rows = rows.fetch_all(&product.world.db).await.unwrap();
    let somebody = |row: &sqlx::postgres::PgRow| {
        let text = |name: &str| row.get::<String, _>(name);
        let fields = [text("username"), text("name"), text("last"), text("email"), text("phone")];
        let folded = fields.iter().map(|field| field.to_lowercase().replace('ü', "u").replace('+', ""));
        Somebody {
            id: text("user_id"),
            fields: folded.collect(),
            username: text("username").to_lowercase(),
            status: text("status"),
            role: text("role"),
            email_verified: row.get("ev"),
            phone_verified: row.get("pv"),
            joined: row.get("joined"),
            signed_in: row.get("signed_in"),
        }
    };
    rows.iter().map(somebody).collect()
}

/// Whom a search means: from three characters any part, else a beginning.
fn means(search: &str, fields: &[String]) -> bool {
    let search = search.trim_start_matches(['+', ' ']).trim_end_matches(' ').to_lowercase().replace('ü', "u");
    match search.chars().count() >= 3 {
        true => fields.iter().any(|field| field.contains(&search)),
        false => !search.is_empty() && fields.iter().any(|field| field.starts_with(&search)),
    }
}

/// Walks through all pages and compares with whom the filter means, in the order it means.
async fn compare(product: &Product, people: &[Somebody], staff: &Value, query: &[(&str, &str)]) {
    let given = |name: &str| query.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let mut all: Vec<&Somebody> = people.iter().collect();
    all.retain(|one| {
        let status = given("status").unwrap_or("active");
        (status == "all" || one.status == status)
            && given("role").is_none_or(|role| one.role == role)
            && given("email_verified").is_none_or(|is| one.email_verified.to_string() == is)
            && given("phone_verified").is_none_or(|is| one.phone_verified.to_string() == is)
            && given("search").is_none_or(|text| means(text, &one.fields))
    });
    all.sort_by_key(|one| one.id.clone());
    match given("ordering").unwrap_or("-date_joined") {
        "date_joined" => all.sort_by_key(|one| one.joined),
        "-date_joined" => {
            all.sort_by_key(|one| one.joined);
            all.reverse();
        }
        "username" => all.sort_by_key(|one| one.username.clone()),
        "-username" => {
            all.sort_by_key(|one| one.username.clone());
            all.reverse();
        }
        "last_login" => all.sort_by_key(|one| one.signed_in),
        _ => {
            all.sort_by_key(|one| one.signed_in);
            all.reverse();
        }
    }
    let wanted: Vec<&str> = all.iter().map(|one| one.id.as_str()).collect();
    let mut found = Vec::new();
    for page in 1.. {
        let mut url = reqwest::Url::parse("http://x/api/admin/users").unwrap();
        url.query_pairs_mut()
            .extend_pairs(query)
            .append_pair("page_size", "200")
            .append_pair("page", &page.to_string());
        let path = format!("{}?{}", url.path(), url.query().unwrap());
        let (status, shown) = product.get(&path, staff).await;
        assert_eq!(status, 200, "{query:?}: {shown}");
        assert_eq!(
            (&shown["total"], &shown["total_is_exact"], &shown["page"]),
            (&json!(wanted.len()), &json!(true), &json!(page)),
            "{query:?}"
        );
        let items = shown["items"].as_array().unwrap();
        found.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        if items.len() < 200 {
            break;
        }
    }
    assert!(found == wanted, "{query:?}: {} found, {} wanted", found.len(), wanted.len());
}

/// A member of staff among the crowd.
async fn desk() -> (Product, Value) {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    product.world.execute("UPDATE users SET role = 'admin' WHERE username = 'staffer'").await;
    product.drain().await;
    crowd(&product).await;
    (product, staff)
}

#[tokio::test]
async fn every_filter_and_order_finds_whom_it_means_in_its_order() {
    let (product, staff) = desk().await;
    let people = everybody(&product).await;
    for ordering in ["date_joined", "-date_joined", "username", "-username", "last_login", "-last_login"] {
        compare(&product, &people, &staff, &[("ordering", ordering)]).await;
        compare(&product, &people, &staff, &[("ordering", ordering), ("status", "all"), ("search", "wanj")])
            .await;
    }
    for filter in [
        [("status", "suspended"), ("email_verified", "true")],
        [("status", "deleted"), ("phone_verified", "false")],
        [("role", "trainee"), ("email_verified", "false")],
        [("role", "trainee"), ("phone_verified", "true")],
        [("role", "nobody_has_it"), ("status", "all")],
    ] {
        compare(&product, &people, &staff, &filter).await;
    }
}

#[tokio::test]
async fn a_search_finds_the_same_whether_its_words_are_common_or_not() {
    let (product, staff) = desk().await;
    let searches = [
        "wanjiru",
        "anjir",
        "WANJ",
        "wanj",
        "müll",
        "MULLER",
        "o'br",
        "o'brien",
        "ada",
        "ada lovelace",
        "lovelace ada",
        "wanjiru odhiambo",
        "jiru odh",
        "jiru o",
        "wanjiru o'b",
        "u odhiambo",
        "wanjiru ",
        "wanji o",
        "annwanji müller",
        "wanji mul",
        "wanjiru.1",
        "iru.120@sch",
        "wanjiru@late",
        "late.example",
        "iruz@",
        "lab12x",
        "b12",
        "12x",
        "a7-b2",
        "7-b",
        "mary jane van",
        "jane van der",
        "van d",
        "y j",
        "1@s",
        "0@school2.ex",
        "o'b",
        "...",
        "ada.1",
        "wanjiru.12",
        "wanjiru.wanja.1",
        "iru.wanja.12",
        "u.wanja.1",
        "anja.12",
        "wanja.12",
        ".wanja.12@late",
        "7.wanja.1",
        "lab7.wanja.14",
        "wanja.1 ",
        "ada@",
        "school1",
        "@school1.example",
        "example",
        "+254711",
        "254711",
        "711",
        "1100",
        "25471100",
        "+25",
        "w",
        "wa",
        "an",
        "z",
        "%",
        "_",
        "a.b",
        "\\",
        "+",
        "zo %",
        "wanjiru wanjiru",
        "nobody at all",
        "odhiambo",
        "annwanji",
    ];
    for round in ["nobody has counted", "counted"] {
        let people = everybody(&product).await;
        for (n, search) in searches.into_iter().enumerate() {
            let status = if n % 3 == 0 { "all" } else { "active" };
            compare(&product, &people, &staff, &[("search", search), ("status", status)]).await;
        }
        // parts of what people have, from everywhere in it
        for (n, somebody) in people.iter().step_by(13).enumerate() {
            let field: Vec<char> = somebody.fields[n % 5].chars().collect();
            let part: String = field.iter().skip(n % 7).take(3 + n / 5 % 15).collect();
            if !part.is_empty() {
                compare(&product, &people, &staff, &[("search", &part), ("status", "all")]).await;
            }
        }
        compare(&product, &people, &staff, &[("search", "wanjiru"), ("role", "trainee")]).await;
        compare(
            &product,
            &people,
            &staff,
            &[("search", "wanjiru"), ("phone_verified", "true"), ("status", "all")],
        )
        .await;
        if round == "counted" {
            break;
        }
        let engine = Engine { world: product.world.again(), ctx: product.ctx.clone() };
        engine.ask(&CountWords {}, Terms::default()).await;
        product.drain().await;
        let common = "SELECT count(*) FROM common_words WHERE word IN ('wanjiru', 'example', 'annwanji') AND people > 199";
        assert_eq!(product.world.count(common).await, 3);
        let marked = "SELECT count(*) FROM user_words WHERE word = 'wanjiru' AND NOT common";
        assert_eq!(product.world.count(marked).await, 0);
        // who comes after the count is found among those counted
        crowd_of_one(&product).await;
    }
}

async fn crowd_of_one(product: &Product) {
    let sql = "INSERT INTO users (user_id, username, username_skeleton, first_name, last_name, email, created_at, updated_at)
               SELECT gen_random_uuid(), 'late', 'late', 'Wanjiru', 'Zulu', 'wanjiruz@late.example', $1, $1";
    sqlx::query(sql).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
}

#[tokio::test]
async fn words_that_are_cut_off_at_ten_thousand_rows_leave_nobody_out() {
    let (product, staff) = desk().await;
    // two words each that begin alike, before the words of those who are looked for
    let many = "INSERT INTO users (user_id, username, username_skeleton, first_name, last_name, email, created_at, updated_at)
                SELECT gen_random_uuid(), 'q' || n, 'q' || n, 'zeda', 'zedb', n || '@many.example', $1, $1
                FROM generate_series(1, 5000) AS n";
    sqlx::query(many).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
    let sought = "INSERT INTO users (user_id, username, username_skeleton, email, created_at, updated_at)
                  SELECT gen_random_uuid(), n || '.zedc', n || '.zedc', n || '@few.example', $1, $1
                  FROM generate_series(1, 10) AS n";
    sqlx::query(sought).bind(product.ctx.now()).execute(&product.world.db).await.unwrap();
    let people = everybody(&product).await;
    compare(&product, &people, &staff, &[("search", ".zed")]).await;
    compare(&product, &people, &staff, &[("search", "zed"), ("ordering", "username")]).await;
}

#[tokio::test]
async fn the_numbered_pairs_of_those_who_were_there_before_are_kept() {
    let (product, _) = desk().await;
    const PAIRS: &str = "SELECT count(*) FROM user_words WHERE word LIKE ' %' AND word ~ '[0-9]'";
    let kept = product.world.count(PAIRS).await;
    assert!(kept > 500, "{kept}");
    product.world.execute("DELETE FROM user_words WHERE word LIKE ' %' AND word ~ '[0-9]'").await;
    let step = MIGRATIONS.iter().find(|step| step.version == 40).unwrap();
    for _ in 0..2 {
        product.world.execute(step.sql.as_str()).await;
        assert_eq!(product.world.count(PAIRS).await, kept);
    }
}

#[tokio::test]
async fn a_search_follows_every_change_of_a_person() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    product.world.execute("UPDATE users SET role = 'admin'").await;
    let ada = product.register("ada@example.org", "ada").await;
    let path = format!("/api/users/{}", ada["user_id"].as_str().unwrap());
    let total = async |query: &str| {
        let (status, page) = product.get(&format!("/api/admin/users?{query}"), &staff).await;
        assert_eq!(status, 200, "{page}");
        page["total"].as_i64().unwrap()
    };
    assert_eq!((total("search=ada").await, total("search=lovelace").await), (1, 0));
    let change = json!({ "last_name": "Lovelace", "email": "countess@new.example" });
    let (status, changed) = product.call(Method::PATCH, &path, &change, &staff).await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!((total("search=LOVE").await, total("search=countess%40new").await), (1, 1));
    assert_eq!(total("search=ada%40").await, 0, "the old address finds nobody");
    let banned = json!({ "status": "banned", "reason": "A test" });
    let ban = format!("/api/admin/users/{}/status", ada["user_id"].as_str().unwrap());
    assert_eq!(product.call(Method::POST, &ban, &banned, &staff).await.0, 200);
    assert_eq!((total("search=lovelace").await, total("search=lovelace&status=banned").await), (0, 1));
    product.world.execute("DELETE FROM users WHERE username = 'ada'").await;
    assert_eq!(product.world.count("SELECT count(*) FROM user_words WHERE word = 'lovelace'").await, 0);
}

#[tokio::test]
async fn what_no_list_answers_is_refused_and_each_list_leaves_a_line_without_the_text() {
    let product = Product::new().await;
    let staff = product.register("staff@example.org", "staffer").await;
    let path = "/api/admin/users";
    assert_eq!(product.get(path, &staff).await.1["code"], "auth.forbidden");
    assert_eq!(product.send(Method::GET, path, &Value::Null, &[]).await.status(), 401);
    product.world.execute("UPDATE users SET role = 'hod'").await;
    for query in [
        "page=0",
        "page=100001",
        "page=x",
        "page_size=0",
        "page_size=201",
        "status=gone",
        "role=A%20b",
        "role=",
        "email_verified=2",
        "search=",
        "search=a%00",
        "search=%E2%80%8B",
        "start_date=2026-02-30",
        "start_date=1969-12-31",
        "end_date=10000-01-01",
        "start_date=2026-02-02&end_date=2026-02-01",
        "ordering=password",
        "ordering=",
        "ordering=username%20desc",
    ] {
        let (status, refused) = product.get(&format!("{path}?{query}"), &staff).await;
        assert_eq!((status, &refused["code"]), (422, &json!("request.invalid")), "{query}: {refused}");
    }
    // all at once, unknown ones among them
    let (_, refused) =
        product.get(&format!("{path}?page=0&ordering=age&sort=x&status=all&search="), &staff).await;
    let told = refused["errors"].as_array().expect("faults").iter();
    let told: Vec<_> = told.map(|fault| (fault["pointer"].as_str(), fault["code"].as_str())).collect();
    let wanted = [
        ("/ordering", "field.choice"),
        ("/page", "field.range"),
        ("/search", "field.length"),
        ("/sort", "field.unknown"),
    ];
    assert_eq!(told, wanted.map(|(pointer, code)| (Some(pointer), Some(code))), "{refused}");
    assert_eq!(product.send(Method::GET, &format!("{path}?sort=x"), &Value::Null, &[]).await.status(), 401);
    let (status, refused) = product.get(&format!("{path}?page=501&page_size=200"), &staff).await;
    assert_eq!((status, &refused["code"]), (422, &json!("user.page_too_deep")), "{refused}");
    assert_eq!(product.get(&format!("{path}?page=500&page_size=200"), &staff).await.0, 200);
    let lines = "SELECT count(*) FROM audit WHERE action = 'user.listed'";
    let before = product.world.count(lines).await;
    let query =
        "search=staff%40example.org&role=hod&email_verified=true&start_date=2020-01-01&end_date=9999-12-31";
    let (status, shown) = product.get(&format!("{path}?{query}"), &staff).await;
    assert_eq!((status, &shown["total"], &shown["page_size"]), (200, &json!(1), &json!(20)), "{shown}");
    assert_eq!(product.world.count(lines).await, before + 1);
    let told = "SELECT count(*) FROM audit WHERE action = 'user.listed' AND details->>'role' = 'hod'
                AND details->>'search' = 'given' AND details->>'start_date' = '2020-01-01' AND actor IS NOT NULL
                AND details::text NOT LIKE '%@%'";
    assert_eq!(product.world.count(told).await, 1);
}
