//! A vision transformer as ONNX operations: `backbone/vit.rs` with images of the side used in training.

use std::f32::consts::FRAC_1_SQRT_2;

use anyhow::Result;
use candle_core::Tensor;

use super::graph::{Graph, float, int, ints};
use crate::backbone::{VitSize, layers::LayerNorm};

/// Maps normalised pictures (batch, 3, side, side) to features (batch, width): the class token's row.
///
/// # Errors
/// If a parameter is missing.
pub fn features(graph: &mut Graph, size: VitSize, side: usize, pictures: &str) -> Result<String> {
    let mut tokens = tokens(graph, size, side, pictures)?;
    for number in 0..size.depth {
        tokens = block(graph, &format!("blocks.{number}"), size, &tokens)?;
    }
    let first = graph.integers("class.place", &[0]);
    let class = graph.add("Gather", "class", &[&tokens, &first], vec![int("axis", 1)]);
    let class = graph.add("Flatten", "class.row", &[&class], vec![int("axis", 1)]);
    norm(graph, "norm", &class)
}

/// The class token and patches with their positions (batch, 1 + patches, width).
fn tokens(graph: &mut Graph, size: VitSize, side: usize, pictures: &str) -> Result<String> {
    let VitSize { patch, width, .. } = size;
    let patches = ((side / patch) * (side / patch)) as i64;
    let name = "patch_embed.proj";
    let (weight, bias) =
        (graph.parameter(&format!("{name}.weight"))?, graph.parameter(&format!("{name}.bias"))?);
    let strides = vec![ints("strides", &[patch as i64; 2])];
    let maps = graph.add("Conv", name, &[pictures, &weight, &bias], strides);
    let shape = graph.integers("patches.shape", &[0, width as i64, patches]);
    let rows = graph.add("Reshape", "patches.columns", &[&maps, &shape], Vec::new());
    let rows = graph.add("Transpose", "patches", &[&rows], vec![ints("perm", &[0, 2, 1])]);
    // A row of zeros before the patches, to which the class token and its position are added.
    let pads = graph.integers("tokens.pads", &[0, 1, 0, 0, 0, 0]);
    let rows = graph.add("Pad", "tokens.padded", &[&rows, &pads], Vec::new());
    let positions = graph.values("pos_embed")?;
    let class = (graph.values("cls_token")? + positions.narrow(1, 0, 1)?)?;
    let added = Tensor::cat(&[&class, &positions.narrow(1, 1, patches as usize)?], 1)?;
    let added = graph.tensor("cls_token_and_pos_embed", &added)?;
    Ok(graph.add("Add", "tokens", &[&rows, &added], Vec::new()))
}

fn block(graph: &mut Graph, name: &str, size: VitSize, tokens: &str) -> Result<String> {
    let part = |part: &str| format!("{name}.{part}");
    let inner = norm(graph, &part("norm1"), tokens)?;
    let inner = attention(graph, &part("attn"), size, &inner)?;
    let tokens = graph.add("Add", &part("attended"), &[tokens, &inner], Vec::new());
    let inner = norm(graph, &part("norm2"), &tokens)?;
    let inner = linear(graph, &part("mlp.fc1"), &inner)?;
    let inner = gelu(graph, &part("mlp.act"), &inner);
    let inner = linear(graph, &part("mlp.fc2"), &inner)?;
    Ok(graph.add("Add", name, &[&tokens, &inner], Vec::new()))
}

/// Attention of all heads, and the projection of their outputs.
fn attention(graph: &mut Graph, name: &str, size: VitSize, tokens: &str) -> Result<String> {
    let VitSize { width, heads, .. } = size;
    let part = |part: &str| format!("{name}.{part}");
    let joined = linear(graph, &part("qkv"), tokens)?;
    let each = graph.integers(&part("heads"), &[0, 0, heads as i64, (width / heads) as i64]);
    let parts = graph.thirds(&part("split"), &joined, width);
    // Keys are transposed.
    let wanted = [("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])];
    let [queries, keys, values] = [0, 1, 2].map(|index| {
        let (name, order) = wanted[index];
        let rows = graph.add("Reshape", &part(&format!("{name}.heads")), &[&parts[index], &each], Vec::new());
        graph.add("Transpose", &part(name), &[&rows], vec![ints("perm", &order)])
    });
    let scores = graph.add("MatMul", &part("scores"), &[&queries, &keys], Vec::new());
    let scale = graph.floats(&part("scale"), &[], &[(1.0 / ((width / heads) as f64).sqrt()) as f32]);
    let scores = graph.add("Mul", &part("scaled"), &[&scores, &scale], Vec::new());
    let weights = graph.add("Softmax", &part("softmax"), &[&scores], vec![int("axis", -1)]);
    let mixed = graph.add("MatMul", &part("mixed"), &[&weights, &values], Vec::new());
    let mixed = graph.add("Transpose", &part("rows"), &[&mixed], vec![ints("perm", &[0, 2, 1, 3])]);
    let shape = graph.integers(&part("shape"), &[0, 0, width as i64]);
    let mixed = graph.add("Reshape", &part("joined"), &[&mixed, &shape], Vec::new());
    linear(graph, &part("proj"), &mixed)
}

/// x C(x), where C is the standard normal distribution function, via the error function: opset 17 has no `Gelu`.
fn gelu(graph: &mut Graph, name: &str, input: &str) -> String {
    let part = |part: &str| format!("{name}.{part}");
    let [root, one, half] = [("root", FRAC_1_SQRT_2), ("one", 1.0), ("half", 0.5)]
        .map(|(name, value)| graph.floats(&part(name), &[], &[value]));
    let scaled = graph.add("Mul", &part("scaled"), &[input, &root], Vec::new());
    let error = graph.add("Erf", &part("erf"), &[&scaled], Vec::new());
    let doubled = graph.add("Add", &part("doubled"), &[&error, &one], Vec::new());
    let product = graph.add("Mul", &part("product"), &[input, &doubled], Vec::new());
    graph.add("Mul", name, &[&product, &half], Vec::new())
}

/// Layer normalisation over the last axis.
fn norm(graph: &mut Graph, name: &str, input: &str) -> Result<String> {
    let (weight, bias) =
        (graph.parameter(&format!("{name}.weight"))?, graph.parameter(&format!("{name}.bias"))?);
    let attributes = vec![int("axis", -1), float("epsilon", LayerNorm::EPSILON)];
    Ok(graph.add("LayerNormalization", name, &[input, &weight, &bias], attributes))
}

/// y = x W^T + b over the last axis.
fn linear(graph: &mut Graph, name: &str, input: &str) -> Result<String> {
    let weight = graph.transposed(&format!("{name}.weight"))?;
    let bias = graph.parameter(&format!("{name}.bias"))?;
    let product = graph.add("MatMul", &format!("{name}.product"), &[input, &weight], Vec::new());
    Ok(graph.add("Add", name, &[&product, &bias], Vec::new()))
}
