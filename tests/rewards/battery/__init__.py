"""The attack list as data, by the number of the idea."""

from tests.rewards.battery import binding, bombs, language, libraries, system, text

IDEAS = {
    **language.IDEAS,
    **binding.IDEAS,
    **libraries.IDEAS,
    **bombs.IDEAS,
    **system.IDEAS,
    **text.IDEAS,
}
