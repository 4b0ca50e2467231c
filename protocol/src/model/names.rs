//! Models by short names, and as manifests write them.

use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer};

use super::{CnnShape, GptShape, LogisticShape, MlpShape, Model, ModelError};

impl Model {
    /// The model behind a short name. `gpt:tiny` and `gpt:small` read bytes; `gpt:gpt2` has GPT-2's vocabulary.
    /// For tables `mlp:64-32-10` (inputs, hidden units, classes; more than one hidden layer if they are of one
    /// size), `cnn:8x1-16-10` (side x channels, filters, classes), `logistic:14` or, with the factor of a regularizer
    /// that is not convex, `logistic:14-0.001`.
    pub fn named(name: &str) -> Result<Model, ModelError> {
        let unknown = || ModelError::Unknown(name.chars().take(64).collect());
        let (layers, heads, width, context, vocabulary) = match name {
            "gpt:tiny" => (4, 4, 128, 64, 256),
            "gpt:small" => (6, 6, 384, 256, 256),
            "gpt:gpt2" => (12, 12, 768, 1024, 50_257),
            _ => {
                let (family, numbers) = name.split_once(':').ok_or_else(unknown)?;
                let numbers: Vec<&str> = numbers.split('-').collect();
                return of_numbers(family, &numbers).ok_or_else(unknown);
            }
        };
        Ok(Model::Gpt(GptShape { layers, heads, width, context, vocabulary }))
    }
}

fn of_numbers(family: &str, numbers: &[&str]) -> Option<Model> {
    match (family, numbers) {
        ("mlp", [inputs, hidden @ .., classes]) => {
            let first = hidden.first()?;
            let alike = hidden.iter().all(|units| units == first);
            Some(Model::Mlp(MlpShape {
                inputs: inputs.parse().ok()?,
                hidden: first.parse().ok().filter(|_| alike)?,
                layers: u16::try_from(hidden.len()).ok()?,
                classes: classes.parse().ok()?,
            }))
        }
        ("cnn", [image, filters, classes]) => {
            let (side, channels) = image.split_once('x')?;
            Some(Model::Cnn(CnnShape {
                side: side.parse().ok()?,
                channels: channels.parse().ok()?,
                filters: filters.parse().ok()?,
                classes: classes.parse().ok()?,
            }))
        }
        ("logistic", [inputs, rest @ ..]) => {
            let regularization = match rest {
                [] => 0.0,
                [factor] => factor.parse().ok()?,
                _ => return None,
            };
            Some(Model::Logistic(LogisticShape { inputs: inputs.parse().ok()?, regularization }))
        }
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Model {
    /// A short name, or a table `gpt = { layers = ... }`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Model, D::Error> {
        struct NameOrShape;
        impl<'de> serde::de::Visitor<'de> for NameOrShape {
            type Value = Model;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a model's name such as \"gpt:tiny\", or its shape")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Model, E> {
                Model::named(name).map_err(E::custom)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Model, A::Error> {
                #[derive(Deserialize)]
                #[serde(rename_all = "kebab-case")]
                enum Shape {
                    Gpt(GptShape),
                    Mlp(MlpShape),
                    Cnn(CnnShape),
                    Logistic(LogisticShape),
                }
                Ok(match Shape::deserialize(MapAccessDeserializer::new(map))? {
                    Shape::Gpt(shape) => Model::Gpt(shape),
                    Shape::Mlp(shape) => Model::Mlp(shape),
                    Shape::Cnn(shape) => Model::Cnn(shape),
                    Shape::Logistic(shape) => Model::Logistic(shape),
                })
            }
        }
        deserializer.deserialize_any(NameOrShape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_tables_are_named_by_their_numbers() {
        let named = |name: &str| Model::named(name).unwrap();
        assert_eq!(
            named("mlp:64-32-10"),
            Model::Mlp(MlpShape { inputs: 64, hidden: 32, layers: 1, classes: 10 })
        );
        assert_eq!(
            named("mlp:64-32-32-10"),
            Model::Mlp(MlpShape { inputs: 64, hidden: 32, layers: 2, classes: 10 })
        );
        assert_eq!(
            named("cnn:28x1-8-10"),
            Model::Cnn(CnnShape { side: 28, channels: 1, filters: 8, classes: 10 })
        );
        assert_eq!(named("logistic:14"), Model::Logistic(LogisticShape { inputs: 14, regularization: 0.0 }));
        assert_eq!(
            named("logistic:14-0.001"),
            Model::Logistic(LogisticShape { inputs: 14, regularization: 1e-3 })
        );
        for wrong in
            ["mlp:64-10", "mlp:64-32-16-10", "mlp", "cnn:28-8-10", "logistic:", "logistic:a", "svm:3"]
        {
            assert!(matches!(Model::named(wrong), Err(ModelError::Unknown(_))), "{wrong}");
        }
    }
}
