//! `MobileNetV2` as ONNX operations: `backbone/mobilenet.rs` with channels first.

use anyhow::Result;

use super::{
    graph::{Graph, int},
    resnet::convolution,
};
use crate::{
    backbone::mobilenet::{self, Residual},
    tensor::Geometry,
};

const POINTWISE: Geometry = Geometry { stride: 1, padding: 0 };

/// Maps normalised pictures (batch, 3, side, side) to features (batch, 1280).
///
/// # Errors
/// If a parameter is missing.
pub fn features(graph: &mut Graph, pictures: &str) -> Result<String> {
    let limits = [graph.floats("relu6.low", &[], &[0.0]), graph.floats("relu6.high", &[], &[6.0])];
    let residuals = mobilenet::residuals();
    let first = Geometry { stride: 2, padding: 1 };
    let mut maps = convolution(graph, ["features.0.0", "features.0.1"], first, 1, pictures)?;
    maps = relu6(graph, "features.0.2", &limits, &maps);
    for (number, sizes) in residuals.iter().enumerate() {
        maps = block(graph, &format!("features.{}", number + 1), *sizes, &limits, &maps)?;
    }
    let last = format!("features.{}", residuals.len() + 1);
    maps = convolution(graph, [&format!("{last}.0"), &format!("{last}.1")], POINTWISE, 1, &maps)?;
    maps = relu6(graph, &format!("{last}.2"), &limits, &maps);
    let means = graph.add("GlobalAveragePool", "avgpool", &[&maps], Vec::new());
    Ok(graph.add("Flatten", "features", &[&means], vec![int("axis", 1)]))
}

fn relu6(graph: &mut Graph, name: &str, [low, high]: &[String; 2], maps: &str) -> String {
    graph.add("Clip", name, &[maps, low, high], Vec::new())
}

/// An inverted residual: a convolution that expands the channels, a depthwise one, and one that reduces them.
fn block(
    graph: &mut Graph,
    name: &str,
    sizes: Residual,
    limits: &[String; 2],
    input: &str,
) -> Result<String> {
    let part = |part: &str| format!("{name}.conv.{part}");
    let (mut maps, mut number) = (input.to_owned(), 0);
    if sizes.expands() {
        maps = convolution(graph, [&part("0.0"), &part("0.1")], POINTWISE, 1, &maps)?;
        maps = relu6(graph, &part("0.2"), limits, &maps);
        number = 1;
    }
    let each = Geometry { stride: sizes.stride, padding: 1 };
    let [conv, norm, clip] = [0, 1, 2].map(|place| part(&format!("{number}.{place}")));
    maps = convolution(graph, [&conv, &norm], each, sizes.hidden, &maps)?;
    maps = relu6(graph, &clip, limits, &maps);
    let [conv, norm] = [number + 1, number + 2].map(|number| part(&number.to_string()));
    maps = convolution(graph, [&conv, &norm], POINTWISE, 1, &maps)?;
    match sizes.has_shortcut() {
        true => Ok(graph.add("Add", &format!("{name}.add"), &[input, &maps], Vec::new())),
        false => Ok(maps),
    }
}
