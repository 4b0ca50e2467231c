//! Texts as samples: what is read, in which order, and what is refused.

use driftless_compute::{Corpus, DataError, TINY_SHAKESPEARE, Tokenizer};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

const SEED: [u8; 32] = [7; 32];

/// A file whose bytes count up, so that a token tells its place.
fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn tokenizer_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer.json")
}

#[test]
fn an_epoch_reads_every_window_of_the_training_part_once() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |from: u64, len: u64| (from..from + len).map(|i| i as u8).collect::<Vec<_>>();
    // The second file's bytes differ from the first's training part.
    let paths = [file(folder.path(), "a", &bytes(0, 110)), file(folder.path(), "b", &bytes(110, 120))];
    let corpus = Corpus::open(&paths, 5, SEED).unwrap();
    // Training parts of 99 and 108 bytes: (99 - 5) / 5 + (108 - 5) / 5 windows.
    assert_eq!(corpus.samples(), 18 + 20);
    let mut offsets = HashSet::new();
    for epoch in 0..12 {
        let mut starts = HashSet::new();
        for place in 0..corpus.samples() {
            let mut window = [0; 6];
            corpus.fill(epoch * corpus.samples() + place, &mut window);
            assert!(window.windows(2).all(|pair| pair[1] == pair[0] + 1), "a window within one text");
            // 99..110 and 218..230 are for validation.
            assert!(window[5] < 99 || (110..218).contains(&window[0]) && window[5] < 218);
            assert!(starts.insert(window[0]));
        }
        let offset = starts.iter().min().unwrap();
        assert!(*offset < 5 && starts.contains(&(110 + offset)));
        offsets.insert(*offset);
    }
    assert!(offsets.len() > 2, "epochs shift the windows");
}

#[test]
fn validation_windows_start_at_the_last_tenth() {
    let corpus = Corpus::embedded(TINY_SHAKESPEARE, 64, SEED).unwrap();
    let start = TINY_SHAKESPEARE.len() * 9 / 10;
    assert_eq!(corpus.validation_windows(), (TINY_SHAKESPEARE.len() - start - 1) as u64 / 64);
    let mut window = [0; 65];
    for index in [0, 1, corpus.validation_windows() - 1] {
        corpus.fill_validation(index, &mut window);
        let from = start + index as usize * 64;
        assert!(window.iter().zip(&TINY_SHAKESPEARE[from..]).all(|(a, b)| *a == u32::from(*b)));
    }
    assert_eq!((corpus.vocabulary(), corpus.context()), (256, 64));
}

#[test]
fn bad_texts_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Corpus::open(&[path.to_owned()], 64, SEED).unwrap_err();
    let missing = folder.path().join("missing.txt");
    let error = open(&missing);
    assert!(matches!(error, DataError::Missing { .. }) && error.to_string().contains("missing.txt"));
    let error = open(&file(folder.path(), "empty.txt", b""));
    assert!(matches!(error, DataError::Empty { .. }) && error.to_string().contains("empty.txt"));
    let error = open(&file(folder.path(), "short.txt", &[65; 120]));
    assert!(matches!(error, DataError::TooShort { part: "training part", .. }));
    assert!(error.to_string().contains("short.txt"));
    let error = open(&file(folder.path(), "tail.txt", &[65; 600]));
    assert!(matches!(
        error,
        DataError::TooShort { part: "validation part (the last tenth)", tokens: 60, .. }
    ));
    assert!(matches!(open(folder.path()), DataError::NotAFile { .. }));
    assert!(matches!(Corpus::open(&[], 64, SEED), Err(DataError::NoTexts)));
    assert!(matches!(Corpus::embedded(TINY_SHAKESPEARE, 0, SEED), Err(DataError::Context(0))));
    assert!(matches!(Corpus::embedded(b"", 64, SEED), Err(DataError::Empty { .. })));
}

#[test]
fn a_tokenised_text_is_cached_and_a_damaged_cache_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let text = &TINY_SHAKESPEARE[..200_000];
    let path = file(folder.path(), "text.txt", text);
    let tokenizer = Tokenizer::load(&tokenizer_path()).unwrap();
    assert_eq!(tokenizer.vocabulary(), 320);
    let corpus = || Corpus::tokenised(std::slice::from_ref(&path), &tokenizer, &cache, 64, SEED).unwrap();
    let first = corpus();
    assert_eq!(first.vocabulary(), 320);

    // The validation part is the tokens of the last tenth.
    let expected = tokenizer.encode(std::str::from_utf8(&text[180_000..]).unwrap()).unwrap();
    let read = |corpus: &Corpus| {
        let mut all = Vec::new();
        for index in 0..corpus.validation_windows() {
            let mut window = [0; 65];
            corpus.fill_validation(index, &mut window);
            all.extend_from_slice(&window[..64]);
        }
        all
    };
    assert_eq!(read(&first), expected[..first.validation_windows() as usize * 64]);
    // Cutting the text into pieces changes no token: all training windows are pieces of one encoding.
    let whole = tokenizer.encode(std::str::from_utf8(&text[..180_000]).unwrap()).unwrap();
    assert_eq!(first.samples(), (whole.len() as u64 - 64) / 64);
    let mut window = vec![0; 65];
    for index in 0..20 {
        first.fill(index, &mut window);
        assert!(whole.windows(65).any(|part| part == window));
    }
    assert_eq!(tokenizer.decode(&expected).unwrap().as_bytes(), &text[180_000..]);
    drop(first);

    let files = || fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(files().len(), 1);
    let intact = fs::read(&files()[0]).unwrap();
    for damage in 0..4 {
        let mut bytes = intact.clone();
        match damage {
            0 => bytes[100] ^= 1,
            1 => bytes.truncate(intact.len() - 4),
            2 => bytes[9] ^= 0x80,
            _ => bytes.truncate(10),
        }
        fs::write(&files()[0], bytes).unwrap();
        let _ = corpus();
        assert!(fs::read(&files()[0]).unwrap() == intact);
        assert_eq!(files().len(), 1);
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = TINY_SHAKESPEARE[..100_000].to_vec();
    text[70_123] = 0xff;
    let path = file(folder.path(), "text.txt", &text);
    let tokenizer = Tokenizer::load(&tokenizer_path()).unwrap();
    let cache = folder.path().join("cache");
    let error = Corpus::tokenised(&[path], &tokenizer, &cache, 64, SEED).unwrap_err();
    assert!(matches!(error, DataError::NotUtf8 { offset: 70_123, .. }), "{error}");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
}

#[test]
fn bad_tokenizers_are_typed_errors() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(tokenizer_path()).unwrap();
    let load = |bytes: &[u8]| Tokenizer::load(&file(folder.path(), "tokenizer.json", bytes));
    assert!(matches!(Tokenizer::load(&folder.path().join("none")), Err(DataError::Missing { .. })));
    assert!(matches!(Tokenizer::load(folder.path()), Err(DataError::NotAFile { .. })));
    assert!(matches!(load(b""), Err(DataError::Empty { .. })));
    for cut in (1..good.len() - 1).step_by(41) {
        let error = load(&good[..cut]).unwrap_err();
        assert!(matches!(error, DataError::Tokenizer { .. }) && error.to_string().contains("tokenizer.json"));
    }
    let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
    assert!(matches!(load(&deep), Err(DataError::Tokenizer { .. })));
    // Changed bytes may still be a tokenizer, but never bring the process down.
    for index in (0..good.len()).step_by(23) {
        let mut bytes = good.clone();
        bytes[index] = bytes[index].wrapping_add(1);
        if let Ok(tokenizer) = load(&bytes) {
            let _ = tokenizer.encode("To be, or not to be");
        }
    }
    let large = folder.path().join("large.json");
    fs::File::create(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    assert!(matches!(Tokenizer::load(&large), Err(DataError::TokenizerTooLarge { .. })));
    let text = String::from_utf8(good).unwrap();
    let far = text.replacen("\"Ġt\":", "\"Ġt\":99999999, \"zz\":", 1);
    assert_ne!(far, text);
    assert!(matches!(load(far.as_bytes()), Err(DataError::Tokenizer { .. })));
}
