//! `docs/jobs.md` names every kind and every schedule of the build.

use keryu_worker::registry::registry;

#[test]
fn the_page_of_jobs_is_whole() {
    let page = include_str!("../../../docs/jobs.md");
    let registry = registry();
    for name in registry.names() {
        let (slice, _) = name.split_once('.').expect("slice.verb_noun");
        let told = page.contains(&format!("`{name}`")) || page.contains(&format!("`{slice}.*`"));
        assert!(told, "docs/jobs.md does not name the kind {name}");
    }
    for plan in registry.plans() {
        assert!(page.contains(&format!("`{}`", plan.name)), "docs/jobs.md does not name {}", plan.name);
    }
}
