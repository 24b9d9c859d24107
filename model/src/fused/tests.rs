//! Each operation against the same function composed of candle's elementary ones, whose gradients
//! candle knows.

use candle_core::{D, Device, Tensor, Var};

use super::*;

/// `[rows, width]` numbers between -3 and 3.
pub(super) fn numbers(rows: usize, width: usize, seed: f32) -> Var {
    let count = rows * width;
    let values = (0..count).map(|at| 3.0 * (at as f32 * 1.7 + seed).sin());
    Var::from_vec(values.collect::<Vec<f32>>(), (rows, width), &Device::Cpu).unwrap()
}

pub(super) fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (found, expected) in values(found).iter().zip(values(expected)) {
        let bound = 2e-6 + 2e-6 * expected.abs();
        assert!(
            (found - expected).abs() <= bound,
            "{what}: {found}, expected {expected}"
        );
    }
}

/// Compares results, and gradients under an uneven weighting of the results.
fn assert_same(
    input: &Var,
    fused: impl Fn(&Tensor) -> Tensor,
    composed: impl Fn(&Tensor) -> Tensor,
) {
    let (found, expected) = (fused(input), composed(input));
    assert_close("result", &found, &expected);
    let weights = numbers(1, found.elem_count(), 0.4)
        .reshape(found.shape())
        .unwrap();
    let gradient = |output: &Tensor| {
        let sum = (output * &weights).unwrap().sum_all().unwrap();
        sum.backward().unwrap().get(input).unwrap().clone()
    };
    assert_close("gradient", &gradient(&found), &gradient(&expected));
}

fn composed_softmax(scores: &Tensor) -> Tensor {
    let shifted = scores.broadcast_sub(&scores.max_keepdim(D::Minus1).unwrap().detach());
    let exponentials = shifted.unwrap().exp().unwrap();
    let sum = exponentials.sum_keepdim(D::Minus1).unwrap();
    exponentials.broadcast_div(&sum).unwrap()
}

#[test]
fn the_exponential_is_exact_to_f32() {
    for at in 0..8700 {
        let x = -0.01 * at as f32;
        let expected = f64::from(x).exp();
        let error = (f64::from(exp_of_nonpositive(x)) - expected).abs() / expected;
        assert!(error < 4e-7, "{x}: {error}");
    }
    assert_eq!(exp_of_nonpositive(-1e30), 0.0);
    assert_eq!(exp_of_nonpositive(0.0), 1.0);
    assert!(exp_of_nonpositive(f32::NAN).is_nan());
}

#[test]
fn softmax_agrees_with_the_composed_one() {
    let bias = numbers(1, 7, 2.0).as_detached_tensor();
    let bias = bias.broadcast_as((40, 7)).unwrap();
    assert_same(
        &numbers(40, 7, 0.1),
        |x| x.apply_op2(&bias, BiasedSoftmax { scale: 0.5 }).unwrap(),
        |x| composed_softmax(&((x * 0.5).unwrap() + &bias).unwrap()),
    );
}

#[test]
fn the_bias_of_a_softmax_is_broadcast_over_rows_and_heads() {
    let scores = numbers(12, 5, 0.3).reshape((2, 2, 3, 5)).unwrap();
    let bias = numbers(6, 5, 1.0).reshape((2, 1, 3, 5)).unwrap();
    let spread = bias.broadcast_as((2, 2, 3, 5)).unwrap();
    let found = scores
        .apply_op2(&spread, BiasedSoftmax { scale: 1.0 })
        .unwrap();
    let sum = scores.broadcast_add(&bias).unwrap();
    assert_close("result", &found, &composed_softmax(&sum));
}

#[test]
fn norms_agree_with_the_composed_ones() {
    let composed = |x: &Tensor, is_centred: bool| {
        let x = if is_centred {
            x.broadcast_sub(&x.mean_keepdim(1).unwrap()).unwrap()
        } else {
            x.clone()
        };
        let square = x.sqr().unwrap().mean_keepdim(1).unwrap();
        x.broadcast_div(&(square + 1e-5).unwrap().sqrt().unwrap())
            .unwrap()
    };
    for is_centred in [true, false] {
        let normalize = Normalize {
            is_centred,
            epsilon: 1e-5,
        };
        assert_same(
            &numbers(35, 9, 0.2),
            |x| x.apply_op1(normalize).unwrap(),
            |x| composed(x, is_centred),
        );
    }
}

#[test]
fn gelu_agrees_with_the_error_function() {
    assert_same(
        &numbers(50, 60, 0.0),
        |x| x.apply_op1(Gelu).unwrap(),
        |x| x.gelu_erf().unwrap(),
    );
}

#[test]
fn self_gates_agree_with_the_composed_ones() {
    let input = || numbers(50, 60, 0.0);
    assert_same(
        &input(),
        |x| x.apply_op1(SelfGate::Silu).unwrap(),
        |x| x.silu().unwrap(),
    );
    assert_same(
        &input(),
        |x| x.apply_op1(SelfGate::GeluTanh).unwrap(),
        |x| x.gelu().unwrap(),
    );
    // sigmoid(z) = (1 + tanh(z / 2)) / 2
    assert_same(
        &input(),
        |x| x.apply_op1(SelfGate::QuickGelu).unwrap(),
        |x| {
            let gate = (x * 0.851).unwrap().tanh().unwrap();
            (gate.affine(0.5, 0.5).unwrap() * x).unwrap()
        },
    );
}

#[test]
fn cross_entropy_agrees_with_the_composed_one() {
    let targets = Tensor::new(&[3_u32, 0, 7, 7], &Device::Cpu).unwrap();
    assert_same(
        &numbers(4, 8, 0.6),
        |x| x.apply_op2(&targets, CrossEntropy).unwrap(),
        |x| {
            let logarithms = composed_softmax(x).log().unwrap();
            let chosen = logarithms
                .gather(&targets.unsqueeze(1).unwrap(), 1)
                .unwrap();
            chosen.squeeze(1).unwrap().neg().unwrap()
        },
    );
}

#[test]
fn a_target_outside_the_scores_is_an_error() {
    let targets = Tensor::new(&[8_u32], &Device::Cpu).unwrap();
    let result = numbers(1, 8, 0.0).apply_op2(&targets, CrossEntropy);
    assert!(result.unwrap_err().to_string().contains("target 8"));
}

#[test]
fn a_turn_agrees_with_the_composed_one() {
    let angles: Vec<f32> = (0..6).map(|at| at as f32 * 0.7).collect();
    let turn = Turn {
        cosines: angles.iter().map(|angle| angle.cos()).collect(),
        sines: angles.iter().map(|angle| angle.sin()).collect(),
        half: 2,
        is_interleaved: false,
        is_inverse: false,
    };
    let table = |values: &[f32]| Tensor::from_slice(values, (3, 2), &Device::Cpu).unwrap();
    let (cosines, sines) = (table(&turn.cosines), table(&turn.sines));
    // Two batches of three positions, two halves of two channels.
    assert_same(
        &numbers(6, 4, 0.9),
        |x| x.apply_op1(turn.clone()).unwrap(),
        |x| {
            let x = x.reshape((2, 3, 4)).unwrap();
            let (first, second) = (x.narrow(2, 0, 2).unwrap(), x.narrow(2, 2, 2).unwrap());
            let times = |x: &Tensor, table: &Tensor| x.broadcast_mul(table).unwrap();
            let turned = [
                (times(&first, &cosines) - times(&second, &sines)).unwrap(),
                (times(&second, &cosines) + times(&first, &sines)).unwrap(),
            ];
            Tensor::cat(&turned, 2).unwrap().reshape((6, 4)).unwrap()
        },
    );
}

#[test]
fn pairs_side_by_side_turn_as_pairs_apart_do_and_the_rest_stays() {
    let apart = Turn {
        cosines: [0.6, 0.8].into(),
        sines: [0.8, -0.6].into(),
        half: 2,
        is_interleaved: false,
        is_inverse: false,
    };
    let beside = Turn {
        is_interleaved: true,
        ..apart.clone()
    };
    let input = numbers(1, 5, 0.3);
    let order = |indices: [u32; 5]| Tensor::new(&indices, &Device::Cpu).unwrap();
    let sorted = input.index_select(&order([0, 2, 1, 3, 4]), 1).unwrap();
    let found = input.apply_op1(beside.clone()).unwrap();
    let expected = sorted.apply_op1(apart).unwrap();
    let expected = expected.index_select(&order([0, 2, 1, 3, 4]), 1).unwrap();
    assert_close("result", &found, &expected);
    let back = Turn {
        is_inverse: true,
        ..beside
    };
    assert_close("turned back", &found.apply_op1(back).unwrap(), &input);
}

#[test]
fn a_frozen_product_passes_the_gradient_on_and_keeps_none() {
    let weight = numbers(5, 4, 0.8);
    let frozen = weight.as_detached_tensor();
    assert_same(
        &numbers(3, 4, 0.5),
        |x| x.apply_op2(&frozen, FrozenProduct).unwrap(),
        |x| x.matmul(&frozen.t().unwrap()).unwrap(),
    );
}

#[test]
fn a_frozen_affine_map_and_a_frozen_norm_agree_with_the_composed_ones() {
    let (weight, bias) = (numbers(5, 4, 0.8), numbers(1, 5, 1.1));
    let weight = weight.as_detached_tensor();
    let bias = bias.as_detached_tensor().flatten_all().unwrap();
    assert_same(
        &numbers(37, 4, 0.5),
        |x| x.apply_op3(&weight, &bias, FrozenAffine).unwrap(),
        |x| {
            let product = x.matmul(&weight.t().unwrap()).unwrap();
            product.broadcast_add(&bias).unwrap()
        },
    );
    let row = |seed| {
        numbers(1, 9, seed)
            .as_detached_tensor()
            .flatten_all()
            .unwrap()
    };
    let (scale, shift) = (row(0.3), row(1.9));
    let normalize = Normalize {
        is_centred: true,
        epsilon: 1e-5,
    };
    assert_same(
        &numbers(35, 9, 0.2),
        |x| x.apply_op3(&scale, &shift, ScaledNorm(normalize)).unwrap(),
        |x| {
            let normal = x.apply_op1(normalize).unwrap();
            let scaled = normal.broadcast_mul(&scale).unwrap();
            scaled.broadcast_add(&shift).unwrap()
        },
    );
}

/// Attention out of candle's operations; keys and values have as many heads as queries.
fn composed_attention([queries, keys, values]: [&Tensor; 3], bias: &Tensor, scale: f64) -> Tensor {
    let products = queries.contiguous().unwrap().matmul(&keys.t().unwrap());
    let scores = (products.unwrap() * scale).unwrap();
    let weights = composed_softmax(&scores.broadcast_add(bias).unwrap());
    let attended = weights.matmul(&values.contiguous().unwrap()).unwrap();
    attended.transpose(1, 2).unwrap().flatten_from(2).unwrap()
}

#[test]
fn attention_is_what_its_steps_come_to() {
    // More queries than one block; keys that whole blocks do not see; heads that share keys.
    let (batch, heads, key_heads, tokens, sources, channels) = (2, 4, 2, 70, 90, 5);
    let bias = |query: usize, key: usize| {
        let is_seen = key <= query + 20 && (key >= 10 || query < 66);
        if is_seen {
            0.01 * key as f32
        } else {
            crate::ops::MASKED_SCORE
        }
    };
    let bias = (0..tokens).flat_map(|query| (0..sources).map(move |key| bias(query, key)));
    let bias: Vec<f32> = bias.collect();
    let bias = Tensor::from_vec(bias, (1, 1, tokens, sources), &Device::Cpu).unwrap();
    let part = |tokens: usize, heads: usize, seed: f32| {
        let var = numbers(batch * tokens, heads * channels, seed);
        let shape = (batch, tokens, heads, channels);
        let split = var.reshape(shape).unwrap().transpose(1, 2).unwrap();
        (var, split)
    };
    let (query_var, queries) = part(tokens, heads, 0.1);
    let (key_var, keys) = part(sources, key_heads, 0.2);
    let (value_var, values) = part(sources, key_heads, 0.3);
    let scale = 0.4;
    let attention = Attention {
        scale,
        bias: Some(bias.clone()),
    };
    let found = queries.apply_op3(&keys, &values, attention).unwrap();
    let repeated = |tensor: &Tensor| crate::ops::repeat_heads(tensor, heads / key_heads).unwrap();
    let operands = [&queries, &repeated(&keys), &repeated(&values)];
    let expected = composed_attention(operands, &bias, f64::from(scale));
    let close = |what: &str, found: &Tensor, expected: &Tensor| {
        let most = (found - expected)
            .unwrap()
            .abs()
            .unwrap()
            .flatten_all()
            .unwrap();
        let most = most.max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(most < 2e-5, "{what}: {most}");
    };
    close("result", &found, &expected);
    let uneven = numbers(1, found.elem_count(), 0.4)
        .reshape(found.shape())
        .unwrap();
    let gradients = |output: &Tensor| {
        (output * &uneven)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap()
    };
    let (found, expected) = (gradients(&found), gradients(&expected));
    for (what, var) in [
        ("queries", query_var),
        ("keys", key_var),
        ("values", value_var),
    ] {
        close(what, found.get(&var).unwrap(), expected.get(&var).unwrap());
    }
}
