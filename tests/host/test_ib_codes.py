"""Every code of Interactive Brokers is taken for what it means, and never for a verdict that it is not."""

from __future__ import annotations

import pytest
from tws.codes import words_of

from symcache_core.errors import (
    AmbiguousSymbolError,
    ProviderError,
    ProviderPacingError,
    ProviderPermissionError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from symcache_host.ib.codes import ERRORS, TABLE, Meaning, classify, ends_a_request, error_of, readable

HMDS = "Historical Market Data Service error message:"


@pytest.mark.parametrize(
    ("code", "text", "meaning", "error"),
    [
        (200, "No security definition has been found for the request", Meaning.NO_CONTRACT, ProviderUnavailableError),
        (200, "The contract description specified for ES is ambiguous.", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "Die Kontraktbeschreibung f\u00fcr ES ist mehrdeutig", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "Die Kontraktbeschreibung ist nicht eindeutig", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "La description du contrat ES est ambigu\u00eb", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "La descripci\u00f3n del contrato ES es ambigua", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "La descrizione del contratto ES \u00e8 ambigua", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "A descri\u00e7\u00e3o do contrato \u00e9 amb\u00edgua", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "Описание контракта ES неоднозначно", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "ES的合约描述不明确", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "ES的合約描述不明確", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "ESの契約の記述があいまいです", Meaning.AMBIGUOUS, AmbiguousSymbolError),
        (200, "security definition server is not available", Meaning.UNREACHABLE, ProviderUnavailableError),
        (200, "Sec-def data farm is down", Meaning.UNREACHABLE, ProviderUnavailableError),
        (200, "Es wurde keine Wertpapierdefinition gefunden", Meaning.NO_CONTRACT, ProviderUnavailableError),
        (200, "未找到该请求的证券定义", Meaning.NO_CONTRACT, ProviderUnavailableError),
        (162, HMDS + "Historical data request pacing violation", Meaning.PACING, ProviderPacingError),
        (162, HMDS + "HMDS query returned no data: IBM@SMART Trades", Meaning.NO_DATA, ProviderUnavailableError),
        (162, HMDS + "No head time stamp", Meaning.NO_DATA, ProviderUnavailableError),
        (162, HMDS + "No historical market data for IBM/STK@SMART", Meaning.NO_DATA, ProviderUnavailableError),
        (162, HMDS + "API historical data query cancelled: 7", Meaning.CANCELLED, ProviderTimeoutError),
        (162, HMDS + "No market data permissions for NYSE STK", Meaning.PERMISSION, ProviderPermissionError),
        (
            162,
            HMDS + "Trading TWS session is connected from a different IP address",
            Meaning.PERMISSION,
            ProviderPermissionError,
        ),
        (162, HMDS + "Time length exceed max.", Meaning.BAD_REQUEST, ProviderError),
        (162, HMDS + "what nobody has seen before", Meaning.UNKNOWN, ProviderUnavailableError),
        (321, "Error validating request", Meaning.BAD_REQUEST, ProviderError),
        (100, "Max rate of messages per second has been exceeded.", Meaning.PACING, ProviderPacingError),
        (420, "Invalid Real-time Query", Meaning.PACING, ProviderPacingError),
        (326, "client id in use", Meaning.NO_SOCKET, ProviderUnavailableError),
        (502, "Couldn't connect to TWS", Meaning.NO_SOCKET, ProviderUnavailableError),
        (504, "Not connected", Meaning.NO_SOCKET, ProviderUnavailableError),
        (1100, "Connectivity has been lost", Meaning.LINK_LOST, ProviderUnavailableError),
        (1101, "restored - data lost", Meaning.DATA_LOST, ProviderUnavailableError),
        (1102, "restored - data maintained", Meaning.RESTORED, ProviderUnavailableError),
        (2103, "Market data farm connection is broken:usfarm", Meaning.FARM_DOWN, ProviderUnavailableError),
        (2105, "HMDS data farm connection is broken:ushmds", Meaning.FARM_DOWN, ProviderUnavailableError),
        (2110, "Connectivity is broken", Meaning.LINK_BROKEN, ProviderUnavailableError),
        (2157, "Sec-def data farm connection is broken:secdefil", Meaning.FARM_DOWN, ProviderUnavailableError),
        (354, "Requested market data is not subscribed.", Meaning.PERMISSION, ProviderPermissionError),
        (10090, "Part of requested market data is not subscribed.", Meaning.PERMISSION, ProviderPermissionError),
        (10197, "No market data during competing live session", Meaning.PERMISSION, ProviderPermissionError),
        (366, "No historical data query found for ticker id", Meaning.CANCELLED, ProviderTimeoutError),
        (203, "The security is not available or allowed for this account", Meaning.PERMISSION, ProviderPermissionError),
        (162, HMDS + "invalid step: 1", Meaning.BAD_REQUEST, ProviderError),
        (162, HMDS + "HMDS server disconnect occurred.", Meaning.UNREACHABLE, ProviderUnavailableError),
        (10089, "requires additional subscription for API", Meaning.PERMISSION, ProviderPermissionError),
        (10091, "Part of requested market data requires", Meaning.PERMISSION, ProviderPermissionError),
        (10168, "Requested market data is not subscribed.", Meaning.PERMISSION, ProviderPermissionError),
        (10186, "Requested market data is not subscribed.", Meaning.PERMISSION, ProviderPermissionError),
        (10187, "Failed to request historical ticks", Meaning.PERMISSION, ProviderPermissionError),
        (10190, "Max number of tick-by-tick requests", Meaning.PACING, ProviderPacingError),
        (10299, "Expected what to show is AGGTRADES", Meaning.BAD_REQUEST, ProviderError),
        (10314, "End Date/Time: invalid", Meaning.BAD_REQUEST, ProviderError),
        (478, "Parameters in request conflicts", Meaning.BAD_REQUEST, ProviderError),
        (99999, "what nobody has seen before", Meaning.UNKNOWN, ProviderUnavailableError),
    ],
)
def test_a_code_means_what_the_table_says_and_is_kept_in_its_error(code, text, meaning, error):
    assert classify(code, text).meaning is meaning
    assert ends_a_request(code, text)
    raised = error_of(code, text)
    assert type(raised) is error
    assert raised.code == str(code)
    assert text in str(raised)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (2104, Meaning.FARM_UP),
        (2106, Meaning.FARM_UP),
        (2158, Meaning.FARM_UP),
        (2107, Meaning.FARM_ASLEEP),
        (2108, Meaning.FARM_ASLEEP),
        (165, Meaning.NOTICE),
        (10167, Meaning.NOTICE),
        (2100, Meaning.NOTICE),
        (2174, Meaning.NOTICE),
        (2199, Meaning.NOTICE),
    ],
)
def test_what_a_request_is_only_told_does_not_end_it(code, meaning):
    assert classify(code, words_of(code)).meaning is meaning
    assert not ends_a_request(code, words_of(code))


@pytest.mark.parametrize(("code", "seconds"), [(100, 1.0), (162, 15.0), (420, 15.0), (1100, None), (200, None)])
def test_where_the_rules_tell_when_to_come_back_the_error_does(code, seconds):
    assert error_of(code, "pacing violation").retry_after == seconds


def test_no_line_of_the_table_is_hidden_by_one_before_it():
    for place, row in enumerate(TABLE):
        before = [other for other in TABLE[:place] if other.code == row.code]
        assert not any(other.says in row.says for other in before), row


def test_every_meaning_is_that_of_a_code_and_ends_a_request_or_says_that_all_is_well():
    assert {row.meaning for row in TABLE} | {Meaning.UNKNOWN} == set(Meaning)
    assert set(Meaning) - set(ERRORS) == {Meaning.FARM_UP, Meaning.FARM_ASLEEP, Meaning.NOTICE}


def test_a_character_that_is_told_by_two_numbers_is_one():
    assert readable(r"\ud83d\ude00 \u5386") == "\U0001f600 \u5386"
    assert readable(r"half of one: \ud83d").encode() == "half of one: \ufffd".encode()


def test_the_text_of_an_error_is_one_line():
    assert str(error_of(321, "Error\nvalidating\r\n request")) == (
        "Interactive Brokers: Error validating request (code 321)"
    )


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("历史市场数据服务错误信息:HMDS query returned no data: 700@SEHK Trades", Meaning.NO_DATA),
        ("Fehlermeldung des historischen Marktdatendienstes:HMDS query returned no data", Meaning.NO_DATA),
        ("Fehlermeldung des historischen Marktdatendienstes:Keine Daten", Meaning.NO_DATA),
        ("历史市场数据服务错误信息:没有数据", Meaning.NO_DATA),
        ("Keine Marktdaten-Berechtigung für NYSE STK", Meaning.PERMISSION),
        ("Pacing-Verletzung", Meaning.PACING),
        ("Что-то пошло не так", Meaning.UNKNOWN),
        ("Keine historischen Marktdaten abonniert", Meaning.PERMISSION),
        ("Sin datos de mercado: suscripción requerida", Meaning.PERMISSION),
        ("没有数据订阅", Meaning.PERMISSION),
        (HMDS + "No historical market data for IBM/STK@SMART: subscription required", Meaning.PERMISSION),
        (HMDS + "HMDS query returned no data: PACING@SMART Trades", Meaning.NO_DATA),
    ],
)
def test_a_162_in_another_language_is_what_it_is_in_english_or_else_unknown(text, meaning):
    assert classify(162, text).meaning is meaning


@pytest.mark.parametrize("code", sorted({row.code for row in TABLE} - {162, 200, 322, 420}))
def test_every_other_code_means_the_same_in_any_language(code):
    assert len({classify(code, text).meaning for text in ("", "Fehler", "错误", "no data", "ambiguous", "pacing")}) == 1


def test_a_text_that_cannot_be_read_says_how_tws_can_be_made_readable():
    assert "in English" in str(error_of(162, "Что-то пошло не так"))
    assert "in English" not in str(error_of(162, "what nobody has seen before"))


def test_each_line_of_the_table_names_its_source():
    assert all(row.source for row in TABLE)
