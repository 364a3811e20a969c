//! ResNet-18 as ONNX operations: `backbone/resnet.rs` in evaluation mode, with channels first.

use anyhow::Result;

use super::graph::{Graph, float, int, ints};
use crate::{
    backbone::Stem,
    tensor::{Geometry, batch_norm::EPSILON},
};

/// Maps normalised pictures (batch, 3, side, side) to features (batch, width).
///
/// # Errors
/// If a parameter is missing.
pub fn features(graph: &mut Graph, stem: Stem, pictures: &str) -> Result<String> {
    let geometry = match stem {
        Stem::ImageNet => Geometry { stride: 2, padding: 3 },
        Stem::Small => Geometry { stride: 1, padding: 1 },
    };
    let mut maps = convolution(graph, ["conv1", "bn1"], geometry, 1, pictures)?;
    maps = graph.add("Relu", "relu", &[&maps], Vec::new());
    if stem == Stem::ImageNet {
        let window = [("kernel_shape", &[3; 2][..]), ("strides", &[2; 2]), ("pads", &[1; 4])];
        let window = window.into_iter().map(|(name, values)| ints(name, values)).collect();
        maps = graph.add("MaxPool", "maxpool", &[&maps], window);
    }
    for stage in 1..=4 {
        for number in 0..2 {
            let stride = if stage > 1 && number == 0 { 2 } else { 1 };
            maps = block(graph, &format!("layer{stage}.{number}"), stride, &maps)?;
        }
    }
    let means = graph.add("GlobalAveragePool", "avgpool", &[&maps], Vec::new());
    Ok(graph.add("Flatten", "features", &[&means], vec![int("axis", 1)]))
}

/// Two 3 x 3 convolutions and a shortcut, which is a convolution if the shape changes.
fn block(graph: &mut Graph, name: &str, stride: usize, input: &str) -> Result<String> {
    let shortcut = match stride {
        1 => input.to_owned(),
        _ => {
            let [conv, norm] = [0, 1].map(|part| format!("{name}.downsample.{part}"));
            convolution(graph, [&conv, &norm], Geometry { stride, padding: 0 }, 1, input)?
        }
    };
    let part = |part: &str| format!("{name}.{part}");
    let first = Geometry { stride, padding: 1 };
    let inner = convolution(graph, [&part("conv1"), &part("bn1")], first, 1, input)?;
    let inner = graph.add("Relu", &part("relu1"), &[&inner], Vec::new());
    let second = Geometry { stride: 1, padding: 1 };
    let inner = convolution(graph, [&part("conv2"), &part("bn2")], second, 1, &inner)?;
    let sum = graph.add("Add", &part("add"), &[&inner, &shortcut], Vec::new());
    Ok(graph.add("Relu", &part("relu2"), &[&sum], Vec::new()))
}

/// A convolution in `groups` groups of channels, followed by batch normalisation with running statistics.
pub fn convolution(
    graph: &mut Graph,
    [conv, norm]: [&str; 2],
    Geometry { stride, padding }: Geometry,
    groups: usize,
    input: &str,
) -> Result<String> {
    let weight = graph.parameter(&format!("{conv}.weight"))?;
    let mut attributes = vec![ints("strides", &[stride as i64; 2]), ints("pads", &[padding as i64; 4])];
    if groups > 1 {
        attributes.push(int("group", groups as i64));
    }
    let maps = graph.add("Conv", conv, &[input, &weight], attributes);
    let mut inputs = vec![maps];
    for part in ["weight", "bias", "running_mean", "running_var"] {
        inputs.push(graph.parameter(&format!("{norm}.{part}"))?);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Ok(graph.add("BatchNormalization", norm, &inputs, vec![float("epsilon", EPSILON)]))
}
