"""The corpus of the redaction test through Microsoft Presidio: recall by kind, false positives, CPU-seconds, MB/s.

    cargo run --release -p cairn-operators --example redaction -- corpus > corpus.jsonl
    python benchmark/redaction/presidio.py corpus.jsonl [--threshold 0.0] [--model en_core_web_lg]

Presidio's own defaults: every predefined recogniser of English, and with --all those of the countries in the corpus, too. A value
counts as found where findings of any entity cover it whole; named rightly where the entity is one of those that ENTITIES gives the kind.
Without --model spaCy's blank English pipeline cuts words: pattern, checksum and context recognisers work, names do not.
"""

import argparse
import json
import resource
import time
from collections import defaultdict

ENTITIES = {
    "card": {"CREDIT_CARD"},
    "iban": {"IBAN_CODE"},
    "national_id": {"UK_NHS", "ES_NIF", "ES_NIE", "IN_AADHAAR", "DE_TAX_ID", "IT_FISCAL_CODE"},
    "email": {"EMAIL_ADDRESS"},
    "ip": {"IP_ADDRESS"},
    "mac": {"MAC_ADDRESS"},
    "phone": {"PHONE_NUMBER"},
    "ssn": {"US_SSN"},
    "birth_date": {"DATE_TIME"},
    "name": {"PERSON"},
    "url_credentials": {"URL"},
}


def engine(model, everything):
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NlpEngineProvider, SpacyNlpEngine

    if model:
        configuration = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]}
        nlp = NlpEngineProvider(nlp_configuration=configuration).create_engine()
    else:
        import spacy

        nlp = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
        nlp.nlp = {"en": spacy.blank("en")}
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=nlp)
    if everything:
        from presidio_analyzer import predefined_recognizers as known

        for name in ("EsNifRecognizer", "EsNieRecognizer", "ItFiscalCodeRecognizer", "InAadhaarRecognizer", "DeTaxIdRecognizer"):
            if hasattr(known, name):
                registry.add_recognizer(getattr(known, name)(supported_language="en"))
    return AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=["en"])


def is_covered(start, end, found):
    at = start
    for one in sorted(found, key=lambda one: one.start):
        if one.start <= at:
            at = max(at, one.end)
    return at >= end


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("corpus")
    arguments.add_argument("--threshold", type=float, default=0.0)
    arguments.add_argument("--model")
    arguments.add_argument("--all", action="store_true")
    arguments = arguments.parse_args()
    rows = [json.loads(line) for line in open(arguments.corpus)]
    # the list of top-level domains that is shipped, not one fetched while it is timed
    import tldextract

    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    tldextract.extract = tldextract.tldextract.TLD_EXTRACTOR
    analyzer = engine(arguments.model, arguments.all)
    analyzer.analyze("warm up 4111 1111 1111 1111", language="en")
    said, taken = [], {}
    for name, some in (
        ("positives", [row for row in rows if "kind" in row]),
        ("negatives", [row for row in rows if "kind" not in row]),
    ):
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        said.append([(row, analyzer.analyze(row["text"], language="en", score_threshold=arguments.threshold)) for row in some])
        after, took = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - begun
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        size = sum(len(row["text"].encode()) for row in some)
        print(f"{name}: {len(some)} texts, {size} bytes, {took:.2f} s, {cpu:.2f} CPU-s, {size / cpu / 1e6:.3f} MB/CPU-s")
    counts = defaultdict(lambda: [0, 0, 0])
    for row, found in said[0]:
        count = counts[row["kind"]]
        count[0] += 1
        if is_covered(row["start"], row["end"], found):
            count[1] += 1
            count[2] += any(one.entity_type in ENTITIES.get(row["kind"], ()) for one in found)
    for kind, (every, covered, typed) in counts.items():
        print(f"{kind:<16} {covered:>4} of {every:>4} {covered / every:.3f}, named rightly {typed:>4}")
    for _, found in said[1]:
        for entity in {one.entity_type for one in found}:
            taken[entity] = taken.get(entity, 0) + 1
    wrong = sum(bool(found) for _, found in said[1])
    print(f"false positives {wrong} of {len(said[1])} ({100 * wrong / len(said[1]):.2f} %): {dict(sorted(taken.items(), key=lambda one: -one[1]))}")


if __name__ == "__main__":
    main()
