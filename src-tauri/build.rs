//! Tauri's part of the build: the configuration, the capabilities, the icons.

fn main() {
    // Build scripts run where Cargo.toml and tauri.conf.json lie. Only the capabilities are looked for elsewhere by default; with a
    // pattern of our own tauri-build does not ask to be run again when one changes.
    println!("cargo:rerun-if-changed=src-tauri/capabilities");
    println!("cargo:rerun-if-changed=src-tauri/icons");
    // The folder of the interface is put into the program: where it was never built, say that instead of what the macro says.
    assert!(
        std::path::Path::new("ui/dist/index.html").is_file(),
        "build the interface first: cd ui && npm run build (./dev does it)"
    );
    println!("cargo:rerun-if-changed=ui/dist");
    let attributes = tauri_build::Attributes::new().capabilities_path_pattern("./src-tauri/capabilities/**/*");
    if let Err(error) = tauri_build::try_build(attributes) {
        panic!("{error:#}");
    }
}
