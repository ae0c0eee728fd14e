"""The words that sample data is made of. Product codes and regulation numbers are the FDA's own."""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return [phrase.strip() for phrase in text.split("|")]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of device as the FDA classifies it."""

    device_type: str
    product_code: str
    regulation_number: str
    device_class: str
    does: str
    measures: str


KINDS = (
    Kind("Pulse Oximeter", "DQA", "870.2700", "II", "measure", "arterial oxygen saturation"),
    Kind("Blood Pressure Monitor", "DXN", "870.1130", "II", "measure", "systolic and diastolic pressure"),
    Kind("Electrocardiograph", "DPS", "870.2340", "II", "record", "twelve-lead cardiac waveforms"),
    Kind("Cardiac Monitor", "DRT", "870.2300", "II", "monitor", "heart rate and arrhythmia"),
    Kind("Infusion Pump", "FRN", "880.5725", "II", "deliver", "parenteral fluids and medication"),
    Kind("Clinical Thermometer", "FLL", "880.2910", "II", "measure", "core body temperature"),
    Kind("Radiological Image Processor", "LLZ", "892.2050", "II", "display", "radiological images"),
    Kind("Pulsed Doppler Ultrasound", "IYN", "892.1550", "II", "image", "blood flow and soft tissue"),
    Kind("Ultrasonic Transducer", "ITX", "892.1570", "II", "image", "abdominal and vascular anatomy"),
    Kind("Computed Tomography System", "JAK", "892.1750", "II", "reconstruct", "cross-sectional anatomy"),
    Kind("Magnetic Resonance System", "LNH", "892.1000", "II", "image", "soft tissue and joints"),
    Kind("Portable Oxygen Generator", "CAW", "868.5440", "II", "supply", "supplemental oxygen"),
    Kind("Non-continuous Ventilator", "BZD", "868.5905", "II", "support", "positive airway pressure therapy"),
    Kind("Continuous Ventilator", "CBK", "868.5895", "II", "support", "invasive and mask ventilation"),
    Kind("Electrosurgical Unit", "GEI", "878.4400", "II", "cut", "and coagulate soft tissue"),
    Kind("Surgical Laser", "GEX", "878.4810", "II", "ablate", "dermal and mucosal lesions"),
    Kind("Arthroscope", "HRX", "888.1100", "II", "visualise", "the interior of joints"),
    Kind("Blood Glucose Test System", "NBW", "862.1345", "II", "quantify", "capillary blood glucose"),
    Kind("Ventilatory Effort Recorder", "MNR", "868.2375", "II", "record", "sleep-related breathing events"),
    Kind("Computer-assisted Triage", "QAS", "892.2080", "II", "flag", "suspected time-critical findings"),
    Kind("Piston Syringe", "FMF", "880.5860", "II", "inject", "and withdraw fluids"),
    Kind("High Permeability Dialyzer", "KDI", "876.5860", "II", "remove", "uraemic toxins"),
    Kind("Insulin Infusion Pump", "LZG", "880.5725", "II", "deliver", "subcutaneous insulin"),
    Kind("Patient Examination Glove", "LYY", "880.6250", "I", "protect", "hands during examination"),
    Kind("Automated External Defibrillator", "MKJ", "870.5310", "III", "treat", "ventricular fibrillation"),
)

BRANDS = _words("""
Aurelis Bexmed Cardion Dravena Elvium Fenwick Galenta Helixor Inovare Juvenia Kestrel Lumira Medarco
Nordvik Orvanta Pulsara Quintara Respiro Solvene Tessaly Ultravia Veridian Westbrook Xylanta Zephyra
Altamed Brightwell Corventa Dynacare Everline
""")
LINES = _words("""
Alto Beacon Compass Delta Echo Flow Guard Halo Insight Juno Key Link Mira Nova Orbit Pilot Quest Relay
Scout Trace Unity Vista Wave Zenith Assure Clarity Focus Harbor Iris Vector
""")
VARIANTS = ("", " Plus", " Pro", " Mini", " II", " III", " MR", " Home", " Neo", " Lite", " S", " XT")
USERS_OF_DEVICES = _phrases("""
trained nurses | physicians | respiratory therapists | lay users | paramedics | sonographers |
biomedical staff | radiologists | caregivers | surgeons | sleep technicians | dialysis nurses
""")
PATIENTS = _phrases("""
adult patients | paediatric patients over two years | neonates | adults over 22 years | pregnant women |
patients with type 1 diabetes | patients after cardiac surgery | ambulatory patients |
critically ill adults | patients with chronic lung disease | veterans in rehabilitation | adolescents
""")
PLACES = _phrases("""
hospitals | outpatient clinics | the home | ambulances | intensive care units |
long-term care facilities | operating rooms | sleep laboratories | dialysis centres |
emergency departments | sports medicine | air transport
""")
LIMITS = _phrases("""
It is not intended for use near magnetic resonance equipment. |
It must not be used as an apnoea monitor. | Readings support clinical judgement and do not replace it. |
It is for prescription use only. | It is contraindicated in patients with implanted stimulators. |
Sterile parts are for single use. | Results need confirmation by a laboratory method. |
Alarm limits are set by the responsible organisation.
""")
AGENTS = ("classifier", "predicate_search", "drafting", "standards", "risk_review")
"""Who answers; the words of each are in ANSWERS at the same place."""
ANSWERS = (
    (
        "Proposed class {klass} under {reg} with product code {code}, score {n}",
        "Compared {n} candidate codes; {code} fits the {part}",
        "Reg. {reg}: exemption does not apply because of the {part}",
    ),
    (
        "Found {n} clearances since 20{yy}; {k} shares the {part}",
        "{k} withdrawn from the shortlist, its {part} differs",
        "Ranked {k} above {k2} for {part}",
    ),
    (
        "Drafted section {s}.{t}, {n} words on the {part}",
        "Rewrote the {part} paragraph after review note {n}",
        "Section {s}.{t} now cites {k}",
    ),
    (
        "{std} clause {s}.{t} applies to the {part}",
        "Gap against {std}: {part} test report {n} is missing",
        "{std} edition 20{yy} recognised; old report {n} still accepted",
    ),
    (
        "Hazard H-{n}: {part}, severity {s}, probability {t}",
        "Residual risk of the {part} accepted, record {n}",
        "Control {n} for the {part} verified in bench test {t}",
    ),
)
STANDARDS = _phrases("""
IEC 60601-1 | ISO 14971 | IEC 62304 | ISO 10993-1 | IEC 62366-1 | ISO 80601-2-61 | IEC 60601-1-2 |
ISO 13485 | ANSI/AAMI HE75 | ISO 15223-1
""")
PARTS = _phrases("""
sensor housing | alarm logic | patient cable | firmware update | battery pack | signal filter |
user interface | sterile barrier | wireless link | calibration curve | display | pressure valve |
optical path | electrode gel | data export | tubing set | reference range | shelf life | packaging |
biocompatible coating | labelling | drive unit | power supply | motion artefact handling
""")
DOCUMENTS = (
    ("specification", "Device specification {n}"),
    ("test_report", "Bench test {n}: {part}"),
    ("risk_file", "Risk file, part {n}: {part}"),
    ("labelling", "Instructions for use, draft {n}"),
    ("software", "Software description {n}: {part}"),
    ("clinical", "Clinical evaluation {n}"),
)
FIRST_NAMES = _words("""
Amara Benedikt Chiara Daniel Elif Farid Grace Hana Ivo Jasmin Kofi Lena Mateo Nadia Oskar Priya Quentin
Rosa Samuel Tamar Ulrich Valentina Wei Ximena Yusuf Zoe Aiko Bruno Carmen Dmitri Esther Felix
""")
LAST_NAMES = _words("""
Abbott Bergmann Castillo Duarte Eriksen Fischer Gupta Haddad Ibarra Jensen Kowalski Lindqvist Marchetti
Nakamura Okafor Petrov Quiroga Rahman Schneider Tanaka Underwood Vasquez Weber Xu Yilmaz Zhang Adeyemi
Brandt Costa Dubois Evans Fontaine
""")
