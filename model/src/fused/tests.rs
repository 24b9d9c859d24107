//! Each operation against the same function composed of candle's elementary ones, whose gradients
//! candle knows.

use candle_core::backprop::GradStore;
use candle_core::{D, Device, Tensor, Var};

use super::*;

/// `[rows, width]` numbers between -3 and 3.
fn numbers(rows: usize, width: usize, seed: f32) -> Var {
    let count = rows * width;
    let values = (0..count).map(|at| 3.0 * (at as f32 * 1.7 + seed).sin());
    Var::from_vec(values.collect::<Vec<f32>>(), (rows, width), &Device::Cpu).unwrap()
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
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

/// Losses and gradients, of hidden states and of rows of the table, of tokens of which some are scored by
/// rows that are trained.
fn assert_head(count: usize, vocabulary: usize) {
    let width = 20;
    let (hidden, table) = (numbers(count, width, 0.2), numbers(vocabulary, width, 0.7));
    let targets: Vec<u32> = (0..count).map(|at| (at * 5 % vocabulary) as u32).collect();
    let ids = [1_u32, 6];
    let indices = Tensor::new(&ids, &Device::Cpu).unwrap();
    let rows = Var::from_tensor(&table.index_select(&indices, 0).unwrap()).unwrap();
    let frozen = table.as_detached_tensor();
    let head = || Head::new(&targets, &ids.into(), true);
    let found = hidden.apply_op3(&frozen, &rows, head()).unwrap();
    let scores = hidden.matmul(&table.t().unwrap()).unwrap();
    let expected = crate::loss::token_losses(&scores, &targets).unwrap();
    let close = |what: &str, found: &Tensor, expected: &Tensor| {
        let apart = (found - expected)
            .unwrap()
            .abs()
            .unwrap()
            .max_all()
            .unwrap();
        let apart = apart.to_scalar::<f32>().unwrap();
        assert!(apart < 1e-4, "{what}: {apart}");
    };
    close("losses", &found, &expected);
    let uneven = numbers(1, count, 0.4).flatten_all().unwrap();
    let gradients = |losses: &Tensor| (losses * &uneven).unwrap().sum_all().unwrap().backward();
    let (found, expected) = (gradients(&found).unwrap(), gradients(&expected).unwrap());
    let of_hidden = |gradients: &GradStore| gradients.get(&hidden).unwrap().clone();
    close("hidden", &of_hidden(&found), &of_hidden(&expected));
    let of_table = expected
        .get(&table)
        .unwrap()
        .index_select(&indices, 0)
        .unwrap();
    close("rows", found.get(&rows).unwrap(), &of_table);
    let alone = hidden.apply_op2(&frozen, head()).unwrap();
    close(
        "hidden alone",
        &of_hidden(&gradients(&alone).unwrap()),
        &of_hidden(&expected),
    );
}

#[test]
fn losses_without_all_scores_are_those_with_them() {
    // Few tokens; several panels, the last of them not full, and more scores than a task has.
    assert_head(3, 30);
    assert_head(130, 1100);
}

#[test]
fn trained_rows_are_looked_up_in_their_table_and_alone_have_a_gradient() {
    let table = numbers(5, 3, 0.1).as_detached_tensor();
    let indices = Tensor::new(&[4_u32, 1], &Device::Cpu).unwrap();
    let rows = Var::from_tensor(&table.index_select(&indices, 0).unwrap()).unwrap();
    let tokens = [1_u32, 0, 4, 1];
    let lookup = TrainedRows {
        tokens: tokens.to_vec(),
        ids: [4, 1].into(),
    };
    let found = table.apply_op2(&rows, lookup).unwrap();
    let indices = Tensor::new(&tokens, &Device::Cpu).unwrap();
    assert_close("rows", &found, &table.index_select(&indices, 0).unwrap());
    let weights = numbers(4, 3, 0.4).as_detached_tensor();
    let gradients = (found * &weights)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let of = |row: usize| weights.get(row).unwrap();
    let expected = Tensor::stack(&[of(2), (of(0) + of(3)).unwrap()], 0).unwrap();
    assert_close("gradient", gradients.get(&rows).unwrap(), &expected);
}

#[test]
fn a_trained_product_agrees_with_the_composed_one() {
    for (count, is_turned) in [(3, false), (60, false), (3, true), (60, true)] {
        let (rows, weight) = (numbers(count, 70, 0.5), numbers(110, 70, 0.8));
        let turned = Var::from_tensor(&weight.t().unwrap().contiguous().unwrap()).unwrap();
        let weight = if is_turned { &turned } else { &weight };
        let of = |weight: &Tensor| {
            if is_turned {
                weight.t().unwrap()
            } else {
                weight.clone()
            }
        };
        let found = rows.apply_op2(&of(weight), TrainedProduct).unwrap();
        let expected = rows.matmul(&of(weight).t().unwrap()).unwrap();
        let uneven = numbers(count, 110, 0.4).as_detached_tensor();
        let gradients = |product: &Tensor| {
            (product * &uneven)
                .unwrap()
                .sum_all()
                .unwrap()
                .backward()
                .unwrap()
        };
        let close = |what: &str, found: &Tensor, expected: &Tensor| {
            let apart = (found - expected)
                .unwrap()
                .abs()
                .unwrap()
                .max_all()
                .unwrap();
            let apart = apart.to_scalar::<f32>().unwrap();
            assert!(
                apart < 1e-3,
                "{what} of {count}, turned {is_turned}: {apart}"
            );
        };
        close("product", &found, &expected);
        let (found, expected) = (gradients(&found), gradients(&expected));
        for var in [&rows, weight] {
            close(
                "gradient",
                found.get(var).unwrap(),
                expected.get(var).unwrap(),
            );
        }
    }
}

#[test]
fn the_scale_and_shift_of_a_norm_get_gradients_where_they_are_trained() {
    let normalize = Normalize {
        is_centred: true,
        epsilon: 1e-5,
    };
    let (rows, scale, shift) = (numbers(150, 9, 0.2), numbers(1, 9, 0.3), numbers(1, 9, 1.9));
    let flat = |var: &Var| Var::from_tensor(&var.flatten_all().unwrap()).unwrap();
    let (scale, shift) = (flat(&scale), flat(&shift));
    let found = rows
        .apply_op3(&scale, &shift, ScaledNorm(normalize))
        .unwrap();
    let normal = rows.apply_op1(normalize).unwrap();
    let scaled = normal.broadcast_mul(&scale).unwrap();
    let expected = scaled.broadcast_add(&shift).unwrap();
    let uneven = numbers(150, 9, 0.4).as_detached_tensor();
    let gradients = |output: &Tensor| {
        let sum = (output * &uneven).unwrap().sum_all().unwrap();
        sum.backward().unwrap()
    };
    let (found, expected) = (gradients(&found), gradients(&expected));
    for var in [&rows, &scale, &shift] {
        let apart = (found.get(var).unwrap() - expected.get(var).unwrap()).unwrap();
        let most = |tensor: &Tensor| {
            let most = tensor.abs().unwrap().max_all().unwrap();
            most.to_scalar::<f32>().unwrap()
        };
        let (apart, size) = (most(&apart), most(expected.get(var).unwrap()));
        assert!(apart <= 1e-5 * size, "{apart} of {size}");
    }
}

#[test]
fn attention_of_packed_heads_is_that_of_parted_ones() {
    let (heads, channels, scale) = (3, 4, 0.5);
    let width = heads * channels;
    let part = |all: &Tensor, parts: usize, at: usize| {
        let part = all.narrow(2, at * width, width).unwrap();
        assert_eq!(all.dim(2).unwrap(), parts * width);
        crate::ops::split_heads(&part.contiguous().unwrap(), heads).unwrap()
    };
    let packed = || PackedAttention {
        heads,
        attention: Attention { scale, bias: None },
    };
    let parted = |queries: &Tensor, keys: &Tensor, values: &Tensor| {
        let attention = Attention { scale, bias: None };
        queries.apply_op3(keys, values, attention).unwrap()
    };
    let compare = |vars: &[&Var], found: &Tensor, expected: &Tensor| {
        assert_close("result", found, expected);
        let uneven = numbers(1, found.elem_count(), 0.4);
        let uneven = uneven.reshape(found.shape()).unwrap();
        let gradients = |output: &Tensor| {
            let sum = (output * &uneven).unwrap().sum_all().unwrap();
            sum.backward().unwrap()
        };
        let (found, expected) = (gradients(found), gradients(expected));
        for var in vars {
            let apart = (found.get(var).unwrap() - expected.get(var).unwrap()).unwrap();
            let apart = apart.abs().unwrap().max_all().unwrap();
            assert!(apart.to_scalar::<f32>().unwrap() < 2e-5);
        }
    };
    let var = numbers(2 * 70, 3 * width, 0.1);
    let all = var.reshape((2, 70, 3 * width)).unwrap();
    let [queries, keys, values] = [0, 1, 2].map(|at| part(&all, 3, at));
    let found = all.apply_op1(packed()).unwrap();
    compare(&[&var], &found, &parted(&queries, &keys, &values));
    // Queries of each row, and of all rows alike.
    let other_var = numbers(2 * 9, 2 * width, 0.6);
    let others = other_var.reshape((2, 9, 2 * width)).unwrap();
    let [keys, values] = [0, 1].map(|at| part(&others, 2, at));
    for rows in [1, 2] {
        let var = numbers(rows * 20, width, 0.3);
        let queries = var.reshape((rows, 20, width)).unwrap();
        let found = queries.apply_op2(&others, packed()).unwrap();
        let spread = queries.broadcast_as((2, 20, width)).unwrap();
        let queries = part(&spread, 1, 0);
        compare(
            &[&var, &other_var],
            &found,
            &parted(&queries, &keys, &values),
        );
    }
}

#[test]
fn rise_and_fall_are_what_their_steps_come_to() {
    use crate::config::Activation;
    let all = [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Silu,
        Activation::Relu,
        Activation::SquaredRelu,
    ];
    let small = |rows, width, seed| {
        let numbers = (numbers(rows, width, seed).as_detached_tensor() * 0.1).unwrap();
        Var::from_tensor(&numbers).unwrap()
    };
    let (rows, rise, fall) = (small(60, 20, 0.5), small(70, 20, 0.8), small(30, 70, 0.3));
    let bias = |width, seed| {
        let bias = small(1, width, seed).as_detached_tensor();
        bias.flatten_all().unwrap()
    };
    let biases = [bias(70, 0.2), bias(30, 0.9)];
    let uneven = numbers(60, 30, 0.4).as_detached_tensor();
    for activation in all {
        for is_frozen in [false, true] {
            let weight = |var: &Var| match is_frozen {
                true => var.as_detached_tensor(),
                false => var.as_tensor().clone(),
            };
            let part = RiseAndFall::new(activation, biases.clone().map(Some));
            let found = rows
                .apply_op3(&weight(&rise), &weight(&fall), part)
                .unwrap();
            let map = |rows: &Tensor, weight: &Tensor, bias: &Tensor| {
                let product = rows.matmul(&weight.t().unwrap()).unwrap();
                product.broadcast_add(bias).unwrap()
            };
            let risen = map(&rows, &rise, &biases[0]);
            let inner = crate::ops::activate(activation, &risen).unwrap();
            let expected = map(&inner, &fall, &biases[1]);
            let close = |what: &str, found: &Tensor, expected: &Tensor| {
                let apart = (found - expected).unwrap().abs().unwrap();
                let apart = apart.max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(apart < 1e-4, "{what}, {activation:?}: {apart}");
            };
            close("result", &found, &expected);
            let gradients = |output: &Tensor| {
                let sum = (output * &uneven).unwrap().sum_all().unwrap();
                sum.backward().unwrap()
            };
            let (found, expected) = (gradients(&found), gradients(&expected));
            close(
                "rows",
                found.get(&rows).unwrap(),
                expected.get(&rows).unwrap(),
            );
            for (what, var) in [("rise", &rise), ("fall", &fall)] {
                match found.get(var) {
                    Some(found) => close(what, found, expected.get(var).unwrap()),
                    None => assert!(is_frozen, "{what} has no gradient"),
                }
            }
        }
    }
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
