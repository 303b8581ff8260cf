use super::*;

/// A folder of its own under the system's temporary one, removed at the end.
struct TempFolder(PathBuf);

impl TempFolder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("zonefold-folder-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn service(name: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n---\n")
}

fn objects(pass: &Pass) -> Vec<String> {
    pass.objects
        .iter()
        .map(|(reference, (file, _))| format!("{} in {file}", reference.name))
        .collect()
}

#[test]
fn folders_are_read_to_the_bottom_and_other_files_ignored() {
    let temp = TempFolder::new();
    temp.write("b.yaml", &service("b"));
    temp.write("deep/er/a.yml", &service("a"));
    temp.write("c.JSON", r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}"#);
    temp.write("notes.txt", "not: [yaml");
    temp.write(".hidden.yaml", "not: [yaml");
    let pass = Folder::default().pass(&temp.0).unwrap();
    assert_eq!(objects(&pass), ["a in deep/er/a.yml", "b in b.yaml", "c in c.JSON"]);
    assert!(pass.errors.is_empty());
}

#[test]
fn the_first_of_two_files_with_one_object_wins() {
    let temp = TempFolder::new();
    temp.write("1.yaml", &service("x"));
    temp.write("2.yaml", &service("x"));
    let pass = Folder::default().pass(&temp.0).unwrap();
    assert_eq!(objects(&pass), ["x in 1.yaml"]);
    assert_eq!(
        pass.duplicates,
        ["service/default/x stands in 1.yaml and in 2.yaml: the first is used; remove the other"]
    );
}

#[test]
fn a_broken_file_keeps_what_it_held_and_the_others_go_on() {
    let temp = TempFolder::new();
    temp.write("a.yaml", &(service("one") + &service("two")));
    temp.write("b.yaml", &service("b"));
    let mut folder = Folder::default();
    folder.pass(&temp.0).unwrap();
    temp.write("a.yaml", "a: [1\n");
    temp.write("b.yaml", &service("new"));
    let pass = folder.pass(&temp.0).unwrap();
    assert_eq!(objects(&pass), ["new in b.yaml", "one in a.yaml", "two in a.yaml"]);
    let error = pass.error_of(SourceKind::Ingress).unwrap();
    assert!(error.starts_with("a.yaml: document 1, line "), "{error}");

    temp.write("a.yaml", &service("one"));
    let pass = folder.pass(&temp.0).unwrap();
    assert_eq!(objects(&pass), ["new in b.yaml", "one in a.yaml"]);
    assert_eq!(pass.error_of(SourceKind::Ingress), None);
}

#[test]
fn an_object_that_cannot_be_read_concerns_its_own_source() {
    let temp = TempFolder::new();
    temp.write("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: 1\n");
    let pass = Folder::default().pass(&temp.0).unwrap();
    assert!(pass.error_of(SourceKind::Service).is_some());
    assert!(pass.error_of(SourceKind::Ingress).is_none());
}

#[test]
fn a_deleted_file_takes_its_objects_with_it_and_a_vanished_folder_does_not() {
    let temp = TempFolder::new();
    temp.write("a.yaml", &service("a"));
    temp.write("b.yaml", &service("b"));
    let mut folder = Folder::default();
    folder.pass(&temp.0).unwrap();
    fs::remove_file(temp.0.join("a.yaml")).unwrap();
    assert_eq!(objects(&folder.pass(&temp.0).unwrap()), ["b in b.yaml"]);
    let away = temp.0.with_extension("away");
    fs::rename(&temp.0, &away).unwrap();
    assert!(matches!(folder.pass(&temp.0), Err(FolderError::Unreadable { .. })));
    fs::rename(&away, &temp.0).unwrap();
    assert_eq!(objects(&folder.pass(&temp.0).unwrap()), ["b in b.yaml"]);
}

#[test]
fn a_config_map_is_followed_through_its_swap() {
    use std::os::unix::fs::symlink;
    let temp = TempFolder::new();
    temp.write("..one/a.yaml", &service("a"));
    temp.write("..two/a.yaml", &service("b"));
    symlink("..one", temp.0.join("..data")).unwrap();
    symlink("..data/a.yaml", temp.0.join("a.yaml")).unwrap();
    let mut folder = Folder::default();
    assert_eq!(objects(&folder.pass(&temp.0).unwrap()), ["a in a.yaml"]);
    fs::remove_file(temp.0.join("..data")).unwrap();
    let during = folder.pass(&temp.0).unwrap();
    assert_eq!(objects(&during), ["a in a.yaml"], "a link without its target deletes nothing");
    assert!(during.error_of(SourceKind::Service).is_some());
    symlink("..two", temp.0.join("..data")).unwrap();
    let after = folder.pass(&temp.0).unwrap();
    assert_eq!(objects(&after), ["b in a.yaml"]);
    assert_eq!(after.error_of(SourceKind::Service), None);
}

#[test]
fn a_link_to_a_folder_above_ends() {
    let temp = TempFolder::new();
    temp.write("sub/a.yaml", &service("a"));
    std::os::unix::fs::symlink("..", temp.0.join("sub/up")).unwrap();
    assert_eq!(objects(&Folder::default().pass(&temp.0).unwrap()), ["a in sub/a.yaml"]);
}
