//! One colour and one marker for a method, everywhere. Okabe and Ito's colours, which those who see red and green alike
//! tell apart; the marker is for print in grey.

/// Colour of a method as a CSS variable, and the variable's value.
pub fn of(method: &str) -> &'static str {
    match method {
        "supervised" => "#5f6368",
        "byol" => "#0072b2",
        "barlow_twins" => "#d55e00",
        "dino" => "#009e73",
        "mae" => "#cc79a7",
        "simclr" => "#b58900",
        _ => "#8a8f98",
    }
}

/// How the paper spells a method or backbone.
pub fn label(id: &str) -> &str {
    match id {
        "supervised" => "Supervised",
        "byol" => "BYOL",
        "barlow_twins" => "Barlow Twins",
        "dino" => "DINO",
        "mae" => "MAE",
        "simclr" => "SimCLR",
        "none" => "none",
        "resnet18" => "ResNet-18",
        "vit_tiny" => "ViT-Tiny",
        other => other,
    }
}

/// Path of a method's marker about (0, 0), about 8 wide.
pub fn marker(method: &str) -> &'static str {
    match method {
        "supervised" => "M-4 -4H4V4H-4Z",
        "byol" => "M0 -5L5 4H-5Z",
        "barlow_twins" => "M0 5L5 -4H-5Z",
        "dino" => "M0 -5.5L5.5 0L0 5.5L-5.5 0Z",
        "mae" => "M-4 -4L4 4M4 -4L-4 4",
        _ => "M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z",
    }
}

/// Fill of a heat map: 0 is the page, 1 full; blue, since the text on it must stay readable in both themes.
pub fn heat(part: f64) -> String {
    format!("color-mix(in oklab, var(--heat) {:.0}%, var(--page))", (100.0 * part.clamp(0.0, 1.0)).round())
}
